"""The published unconditional GAN: the state dict of the ACGAN with a first layer that sees the latent code only."""

import numpy as np

from irob.core.types import Generator
from irob.generators import acgan, gan
from irob.generators.importers.acgan import variables


def convert(state: dict[str, np.ndarray], *, source: str = "state dict") -> Generator:
    """The generator of a state dict; equal to PyTorch's output to 1e-5.

    Raises:
        InputError: names or shapes that are not the published ones.
    """
    return gan.build(variables(state, inputs=acgan.LATENT_DIM, source=source))
