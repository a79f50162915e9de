"""Trains a classifier on clean images: `python -m train.standard --dataset mnist_gen`."""

import dataclasses

from irob.core.config import run
from irob.training import door


@dataclasses.dataclass(frozen=True)
class Config(door.Common):
    """Standard training: cross entropy on clean images."""


def main(config: Config) -> None:
    """Trains and saves."""
    door.work("standard", config)


if __name__ == "__main__":
    run(main, Config, prog="python -m train.standard")
