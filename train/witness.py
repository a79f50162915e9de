"""`python -m train.witness` is `python -m irob train witness`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("witness")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.witness")
