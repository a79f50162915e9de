"""Trains a model: `python -m irob train METHOD ...` is `python -m train.METHOD ...`."""

import importlib
import sys

from irob.core import registry
from irob.core.check import unknown
from irob.core.config import run

PACKAGE = "train"


def main(argv: list[str]) -> None:
    """Finds the method's door in train/ and runs it."""
    methods = registry.names(PACKAGE, "main")
    method = argv[0] if argv else ""
    if method not in methods:
        print(f"python -m irob train: {unknown('method', method, methods)}", file=sys.stderr)
        sys.exit(2)
    door = importlib.import_module(f"{PACKAGE}.{method}")
    run(door.main, door.Config, prog=f"python -m train.{method}", argv=argv[1:])
