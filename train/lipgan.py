"""`python -m train.lipgan` is `python -m irob train lipgan`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("lipgan")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.lipgan")
