"""BigGAN-256 as ivclab stores it: see `biggan128`.  Six blocks, attention at 128x128 before the last, a code of 140."""

from irob.core.types import Generator
from irob.generators.importers import biggan128
from irob.generators.importers._biggan import State

DOWNLOAD = {"weights": biggan128.URL.format(256)}


def convert(state: State, *, source: str = "state dict", notes: list[str] | None = None) -> Generator:
    """The generator of a state dict; equal to PyTorch's output to 1e-4.

    Raises:
        InputError: names or shapes that are not the published ones.
    """
    return biggan128.of(256, state, source=source, notes=notes)
