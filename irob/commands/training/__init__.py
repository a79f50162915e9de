"""Doors of trainings beside classifiers: one file each with `Config` and `main`; see irob/commands/train.py."""

import pathlib
from typing import Any


def workdir_of(name: str, config: Any) -> pathlib.Path:
    """Where a training keeps checkpoints and log: what --workdir says, or a folder for its name and seed."""
    return pathlib.Path(config.workdir or f"out/train/{name}-seed{config.seed}")
