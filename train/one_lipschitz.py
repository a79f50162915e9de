"""`python -m train.one_lipschitz` is `python -m irob train one_lipschitz`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("one_lipschitz")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.one_lipschitz")
