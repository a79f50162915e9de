"""Peak memory of one gradient through BigGAN-128 at full width: `--remat false` keeps every activation instead."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import check, keys, memory
from irob.core.compile import jit
from irob.core.config import option, run
from irob.core.provenance import provenance
from irob.evaluation.memory import peak_mib
from irob.generators import biggan


@dataclasses.dataclass(frozen=True)
class Config:
    """Takes one gradient with respect to a code, and prints the peak memory of the whole process."""

    layout: str = option("biggan128", "a layout by name")
    width: int = option(0, "channel width; 0 is the published one")
    remat: bool = option(True, "compute the inside of a block again instead of keeping it")
    size: int = option(32, "pixels on a side that the image is brought to")
    images: int = option(1, "codes at once")
    dtype: str = option("float32", "of the convolutions: float32 or bfloat16")
    seed: int = option(0, "of the weights and the code")
    out: str = option("out/benchmarks", "folder for the JSON file")


@jit
def _slope(g, z, y):
    """The gradient of the sum of squares of an image."""
    return jax.vmap(lambda z: jax.value_and_grad(lambda z: jnp.sum(g(z, y) ** 2))(z))(z)


def main(config: Config) -> None:
    """Random weights of the published shapes: memory depends on the shapes alone."""
    folder = check.writable_folder(config.out)
    key = keys.from_seed(config.seed)
    module = biggan.GeneratorNet(biggan.layout_of(config.layout, config.width or None))
    code, label = jnp.zeros((1, module.layout.latent_dim)), jnp.zeros(1, jnp.int32)
    shapes = jax.eval_shape(module.init, key, code, label)
    rng = np.random.default_rng(config.seed)

    def drawn(s):
        return jnp.asarray(rng.standard_normal(s.shape, np.float32) / np.sqrt(max(1, np.prod(s.shape[:-1]))))

    variables = jax.tree.map(drawn, shapes)
    variables = {**variables, "batch_stats": jax.tree.map(jnp.ones_like, variables["batch_stats"])}
    g = biggan.build(variables, layout=module.layout, remat=config.remat, size=config.size, dtype=config.dtype)
    before = peak_mib()
    z = jax.random.normal(key, (config.images, g.latent_dim))
    _, slope = _slope(g, z, jnp.int32(0))
    if not np.isfinite(slope).all():
        raise check.InputError("gradient: got NaN or infinity")
    peak = peak_mib()
    example = (z[0], jnp.int32(0))
    found = {"peak MiB": peak, "peak MiB before the gradient": before,
             "weights MiB": sum(a.nbytes for a in jax.tree.leaves(g.variables)) / 2**20,
             "estimate for one gradient MiB": memory.needed(g, *example, gradient=True) / 2**20}
    for name, number in found.items():
        print(f"{name}: {number:.0f}")
    record = {"settings": dataclasses.asdict(config), **found, "provenance": provenance(seed=config.seed)}
    path = pathlib.Path(folder) / f"biggan_memory_{'remat' if config.remat else 'keep'}.json"
    check.write_atomically(path, json.dumps(record, indent=2) + "\n")
    print(f"written to {path}")


if __name__ == "__main__":
    run(main, Config, prog="python -m benchmarks.biggan_memory")
