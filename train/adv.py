"""`python -m train.adv` is `python -m irob train adv`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("adv")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.adv")
