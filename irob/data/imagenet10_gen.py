"""Generated ImageNet10: 50,000 training and 10,000 test images of ten classes of BigGAN-128 at 32x32, codes kept.

The data of the paper's second benchmark: classes airliner, jeep, goldfinch, tabby, hartebeest, Maltese dog, bullfrog,
sorrel, pirate ship, pickup, labels 0 to 9 uniform, z ~ N(0, I).  A generator of all 1000 classes is narrowed to the
ten and down-sampled; one that has been imported with --classes imagenet10 is taken as it is.

Reference: Zhang, Chen, Gu, Evans (2020), section 5, https://arxiv.org/abs/2003.00378
"""

from irob.core import registry
from irob.core.types import Dataset, Generator
from irob.data import generated

COUNT = {"train": 50_000, "test": 10_000}
SHAPE = (32, 32, 3)
HOW = ("make one: python -m irob import biggan128 --source biggan128-release.pt --out DIR, "
       "then --generator DIR")


def build(
    split: str,
    *,
    generator: Generator | str | None = None,
    resize: str | None = None,
    seed: int = 0,
    count: int | None = None,
    chunk: int | None = None,
) -> Dataset:
    """Generated ImageNet10 as a `Dataset` with latent codes.

    Args:
      split: "train" or "test"; their codes are separate streams.
      generator: a `Generator` or a folder of weights; none is shipped.
      resize: see `narrowed`.
      seed: of labels and codes.
      count: only the first `count` examples; they are the same in a set of any length.
      chunk: images generated at once; default what the memory holds.
    """
    g = generated.loaded(
        generator, "imagenet10_gen", shape=SHAPE, how=HOW, narrow=lambda g: narrowed(g, resize))
    count = COUNT[split] if count is None else count
    return generated.dataset(g, split, count, seed=seed, chunk=chunk, name="imagenet10_gen")


def draws(g: Generator) -> bool:
    """Whether this is a generator of these data: BigGAN with all classes, or narrowed to the ten."""
    return g.name == "biggan" and (g.num_classes == 1000 or tuple(g.module.classes) == classes())


def narrowed(g: Generator, resize: str | None = None) -> Generator:
    """The generator of these data: of all classes the ten, at 32x32; one that has been narrowed stays as it is.

    resize: how it is brought to 32x32: area (the mean of pixels, the default), nearest (as the published code), or
    bilinear; None keeps what a narrowed generator has.
    """
    if not draws(g) or (g.num_classes == len(classes()) and resize is None):
        return g
    return registry.room("generators.biggan").imagenet10(g, resize=resize or "area")


def classes() -> tuple[int, ...]:
    """The ten of ImageNet's thousand."""
    return registry.room("generators.biggan").IMAGENET10
