"""Doors of trainings beside classifiers: one file each with `Config` and `main`; see irob/commands/train.py."""
