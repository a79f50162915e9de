"""`python -m train.gan` is `python -m irob train gan`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("gan")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.gan")
