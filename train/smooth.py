"""`python -m train.smooth` is `python -m irob train smooth`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("smooth")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.smooth")
