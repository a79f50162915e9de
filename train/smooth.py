"""Trains a classifier for randomized smoothing: `python -m train.smooth --dataset mnist_gen`."""

import dataclasses

from irob.core.config import option, run
from irob.training import door


@dataclasses.dataclass(frozen=True)
class Config(door.Common):
    """Gaussian augmentation (Cohen et al., 2019): cross entropy at noisy images, for randomized smoothing."""

    sigma: float = option(1.0, "standard deviation of the noise; certify with the same", unit="image units")


def main(config: Config) -> None:
    """Trains and saves."""
    door.work("smooth", config, sigma=config.sigma)


if __name__ == "__main__":
    run(main, Config, prog="python -m train.smooth")
