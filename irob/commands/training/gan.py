"""Trains the unconditional GAN of the paper on real images: `python -m train.gan --data-dir FOLDER`."""

import dataclasses

from irob.commands.training.acgan import Config as ACGANConfig
from irob.commands.training.acgan import work
from irob.core.config import option


@dataclasses.dataclass(frozen=True)
class Config(ACGANConfig):
    """Unconditional GAN (Goodfellow et al., 2014) on real images; the published recipe by default."""

    workdir: str = option("", "folder for checkpoints, log and sample grids; default: out/train/gan-seedN")
    out: str = option("out/weights/gan_mnist", "folder for the generator's weights")


def main(config: Config) -> None:
    """Trains and saves."""
    work("gan", config)


