"""Generated MNIST: 60,000 training and 10,000 test images of the shipped or a given generator, codes kept.

The data of the paper's section 5: labels uniform over the classes, z ~ N(0, I).  See `generated` for why labels
and codes are the same on every machine.
"""

from irob.core import registry
from irob.core.types import Dataset, Generator
from irob.data import generated

COUNT = {"train": 60_000, "test": 10_000}


def build(
    split: str,
    *,
    generator: Generator | str = "acgan_mnist",
    seed: int = 0,
    count: int | None = None,
    chunk: int | None = None,
) -> Dataset:
    """Generated MNIST as a `Dataset` with latent codes.

    Args:
      split: "train" or "test"; their codes are separate streams.
      generator: a `Generator`, a shipped name, or a folder of weights.
      seed: of labels and codes.
      count: only the first `count` examples; they are the same in a set of any length.
      chunk: images generated at once; default 1000, or what the memory holds; the result does not depend on it.
    """
    g = generator if isinstance(generator, Generator) else registry.room("generators").load(generator)
    count = COUNT[split] if count is None else count
    return generated.dataset(g, split, count, seed=seed, chunk=chunk, name="mnist_gen")
