"""Doors of `python -m train.METHOD`: one file a method, thin: parse, call, print."""
