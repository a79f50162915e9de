"""`python -m train.coupling` is `python -m irob train coupling`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("coupling")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.coupling")
