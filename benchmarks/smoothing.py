"""Randomized smoothing (CERTIFY) beside a PyTorch loop, and beside its own forward passes without any noise.

The PyTorch loop is the published procedure: batches of noisy copies, drawn anew, arg max, counts.
"""

import dataclasses

import jax
import jax.numpy as jnp
import torch

from benchmarks import common, twins
from irob import certify, classifiers, generators
from irob.core import compile, keys
from irob.core.config import option, run


@dataclasses.dataclass(frozen=True)
class Config(common.Config):
    """Time smoothing against a PyTorch twin and against bare forward passes; prints a table and writes JSON."""

    classifier: str = option("mnist_gen_smooth", "shipped classifier or folder; NAME: for a random one of that name")
    samples: int = option(1000, "noisy copies of each image")
    sigma: float = option(1.0, "noise", unit="image units")
    batch: int = option(1000, "copies at a time of the PyTorch loop")


def main(config: Config) -> None:
    """Times `count` images (50 by default)."""
    common.begin(config)
    count = config.count or 50
    x, _, _ = common.drawn(generators.load(config.generator), count, config.seed)
    key, name = keys.from_seed(config.seed), config.classifier
    f = classifiers.build(name[:-1], key=key) if name.endswith(":") else classifiers.load(name)
    twin, x_t = twins.classifier(f), twins.images(x)
    certifier = certify.build("smoothing", key=key, sigma=config.sigma, samples=config.samples)
    passes = certifier.samples + certifier.selection
    last = {}

    def irob():
        last["irob"] = certifier.certify(f, x)[1].mean()

    blocks = -(-passes // 256)
    size = passes // blocks

    @compile.jit
    def bare(f, x):
        """As many forward passes in blocks of the same size, and nothing else."""
        steps = jnp.linspace(0, 1e-3, size).reshape(-1, 1, 1, 1)

        def one(x):
            return jax.lax.fori_loop(0, blocks, lambda i, s: s + jax.vmap(f)(x + i * steps).max(), 0.0)

        return jax.lax.map(one, x)

    def forward():
        with jax.default_matmul_precision("float32"):
            jax.block_until_ready(bare(f, x))

    @torch.no_grad()
    def votes(image, n):
        counts = torch.zeros(f.num_classes, dtype=torch.long)
        while n > 0:
            size = min(n, config.batch)
            copies = image.expand(size, *image.shape)
            classes = twin(copies + torch.randn_like(copies) * config.sigma).argmax(1)
            counts += torch.bincount(classes, minlength=f.num_classes)
            n -= size
        return counts

    def published():
        for image in x_t:
            chosen = votes(image, certifier.selection).argmax()
            last["twin"] = int(votes(image, certifier.samples)[chosen])

    forward()
    seconds = common.interleave(
        {common.IROB: irob, "irob, forward passes alone": forward, "PyTorch loop": published}, config.rounds)
    common.report("smoothing", "image", count, seconds, config, passes=passes, mean_radius=float(last["irob"]))


if __name__ == "__main__":
    run(main, Config, prog="python -m benchmarks.smoothing")
