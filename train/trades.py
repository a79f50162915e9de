"""`python -m train.trades` is `python -m irob train trades`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("trades")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.trades")
