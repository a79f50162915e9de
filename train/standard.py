"""`python -m train.standard` is `python -m irob train standard`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("standard")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.standard")
