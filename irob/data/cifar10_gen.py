"""Generated CIFAR-10: 50,000 training and 10,000 test images of a class-conditional generator at 32x32, codes kept.

The generator is a BigGAN that `python -m train.biggan --dataset cifar10` has trained.  Labels are uniform over the
classes, z ~ N(0, I).  See `generated` for why labels and codes are the same on every machine.
"""

from irob.core.types import Dataset, Generator
from irob.data import generated

COUNT = {"train": 50_000, "test": 10_000}
SHAPE = (32, 32, 3)
HOW = "train one with python -m train.biggan --dataset cifar10 --data-dir FOLDER, then --generator FOLDER"


def build(
    split: str,
    *,
    generator: Generator | str | None = None,
    seed: int = 0,
    count: int | None = None,
    chunk: int | None = None,
) -> Dataset:
    """Generated CIFAR-10 as a `Dataset` with latent codes.

    Args:
      split: "train" or "test"; their codes are separate streams.
      generator: a `Generator`, a shipped name, or a folder of weights.
      seed: of labels and codes.
      count: only the first `count` examples; they are the same in a set of any length.
      chunk: images generated at once; default what the memory holds.
    """
    g = generated.loaded(generator, "cifar10_gen", shape=SHAPE, how=HOW)
    count = COUNT[split] if count is None else count
    return generated.dataset(g, split, count, seed=seed, chunk=chunk, name="cifar10_gen")


def draws(g: Generator) -> bool:
    """Whether this is a generator of such data."""
    return g.name == "biggan" and (g.num_classes, g.image_shape) == (10, SHAPE)
