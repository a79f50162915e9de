"""`python -m train.acgan` is `python -m irob train acgan`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("acgan")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.acgan")
