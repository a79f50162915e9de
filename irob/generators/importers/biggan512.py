"""BigGAN-512 as ivclab stores it: see `biggan128`.  Seven blocks, attention at 64x64, a code of 128 in chunks of 16."""

from irob.core.types import Generator
from irob.generators.importers import biggan128
from irob.generators.importers._biggan import State

DOWNLOAD = {"weights": biggan128.URL.format(512)}


def convert(state: State, *, source: str = "state dict", notes: list[str] | None = None) -> Generator:
    """The generator of a state dict; equal to PyTorch's output to 1e-4.

    Raises:
        InputError: names or shapes that are not the published ones.
    """
    return biggan128.of(512, state, source=source, notes=notes)
