"""`python -m train.lp_certify` is `python -m irob train lp_certify`."""

from irob.commands.train import door
from irob.core.config import run

Config, main = door("lp_certify")

if __name__ == "__main__":
    run(main, Config, prog="python -m train.lp_certify")
