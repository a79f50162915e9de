"""`python -m train.biggan` is `python -m irob train biggan`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("biggan")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.biggan")
