"""`python -m train.artifacts` is `python -m irob train artifacts`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("artifacts")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.artifacts")
