"""One step of adversarial training: 40 inner steps on a batch of 128, and the update."""

from benchmarks import steps
from benchmarks.common import Config
from irob.core.config import run


def main(config: Config) -> None:
    """Times `count` steps in one turn (1 by default)."""
    steps.compare("adv", config)


if __name__ == "__main__":
    run(main, Config, prog="python -m benchmarks.adv_step")
