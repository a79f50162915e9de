"""Images of anybody's generator: 60,000 for training and 10,000 to test, with their codes.

What `--generator my.py:gen` draws.  Its components are drawn alike often.  See `generated` for why components and codes
are the same on every machine.
"""

from irob.core import registry
from irob.core.check import InputError
from irob.core.types import Dataset, Generator
from irob.data import generated

COUNT = {"train": 60_000, "test": 10_000}


def build(
    split: str,
    *,
    generator: Generator | str | None = None,
    seed: int = 0,
    count: int | None = None,
    chunk: int | None = None,
) -> Dataset:
    """A generator's images as a `Dataset` with latent codes; without them where its components are finer than labels.

    Args:
      split: "train" or "test"; their codes are separate streams.
      generator: a `Generator`, a name or folder, package.module:name or path/to/file.py:name.
      seed: of components and codes.
      count: only the first `count` examples; they are the same in a set of any length.
      chunk: images generated at once; default 1000, or what the memory holds.
    """
    if generator is None:
        raise InputError("data set 'own_gen': got no generator, wanted one; give it with --generator my.py:gen")
    g = generator if isinstance(generator, Generator) else registry.room("generators").load(generator)
    count = COUNT[split] if count is None else count
    return generated.dataset(g, split, count, seed=seed, chunk=chunk, name="own_gen")


def draws(g: Generator) -> bool:
    """Whether this is a user's own generator, which is named FILE.py:NAME or package.module:NAME."""
    return registry.is_outside(g.name.partition(" ")[0])
