"""Adversarial training of a classifier: `python -m train.adv --dataset mnist_gen`."""

import dataclasses

from irob.core.config import run
from irob.training import door


@dataclasses.dataclass(frozen=True)
class Config(door.Inner):
    """Adversarial training (Madry et al., 2018): cross entropy at the worst point of each image's ball."""


def main(config: Config) -> None:
    """Trains and saves."""
    config = door.paper(config)
    door.work("adv", config, steps=config.steps, step_size=config.step_size, start=config.start)


if __name__ == "__main__":
    run(main, Config, prog="python -m train.adv")
