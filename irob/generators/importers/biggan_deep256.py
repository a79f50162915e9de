"""BigGAN-deep-256 as pytorch-pretrained-BigGAN stores it: twelve blocks.  See `biggan_deep128`."""

from typing import Any

from irob.core.types import Generator
from irob.generators.importers import biggan_deep128
from irob.generators.importers._biggan import State

DOWNLOAD = {"weights": biggan_deep128.URL.format(256, "pytorch_model.bin"),
            "config": biggan_deep128.URL.format(256, "config.json")}


def convert(state: State, *, source: str = "state dict", config: dict[str, Any] | None = None,
            notes: list[str] | None = None) -> Generator:
    """The generator of a state dict; equal to PyTorch's output to 1e-4.

    Raises:
        InputError: names or shapes that are not the published ones, or not those of the configuration.
    """
    return biggan_deep128.of(256, state, source=source, config=config, notes=notes)
