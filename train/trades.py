"""TRADES training of a classifier: `python -m train.trades --dataset mnist_gen`."""

import dataclasses

from irob.core.config import option, run
from irob.training import door


@dataclasses.dataclass(frozen=True)
class Config(door.Inner):
    """TRADES (Zhang et al., 2019): cross entropy plus beta times the divergence within each image's ball."""

    beta: float = option(6.0, "weight of the divergence")


def main(config: Config) -> None:
    """Trains and saves."""
    config = door.paper(config)
    door.work("trades", config, steps=config.steps, step_size=config.step_size, start=config.start, beta=config.beta)


if __name__ == "__main__":
    run(main, Config, prog="python -m train.trades")
