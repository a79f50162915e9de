"""BigGAN-128 at full width against a PyTorch twin: images of a batch, and how far the two are apart.

The published code divides every weight by its spectral norm at every call; here that is done once, at import.  One twin
does as published, the others have the division done too, and one keeps channels last, as convolutions like them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import common
from irob.core.compile import jit
from irob.core.config import option, run
from irob.generators import biggan
from irob.generators.importers import biggan128
from tests.twins import biggan as twins

TRUNCATION, CODES = 1.0, 3


@dataclasses.dataclass(frozen=True)
class Config(common.Config):
    """Time BigGAN-128 against a PyTorch twin with the same random weights; prints a table and writes JSON."""

    width: int = option(96, "channel width; 96 is the published one")
    batch: list[int] = option([1, 16], "images at once, one table for each")
    dtype: str = option("float32", "of irob's convolutions: float32 or bfloat16")
    exact: bool = option(False, "also compare gradients in float64, which takes minutes")


@jit
def _images(g, z, y):
    return jax.vmap(g)(z, y)


@jit
def _slope(g, z, y, c):
    """c . g(z), and its gradient with respect to z."""
    return jax.value_and_grad(lambda z: jnp.sum(g(z, y) * c))(z)


def pair(config: Config):
    """irob's generator and its twin, equal weights."""
    twin = twins.randomise(twins.Ivclab(128, config.width), config.seed)
    state = {k: v.numpy() for k, v in twin.state_dict().items()}
    g = biggan.remake(biggan128.convert(state), dtype=config.dtype, truncation=TRUNCATION)
    return jax.device_put(g), twin


def apart(g, twin, seed: int, exact: bool) -> dict[str, list[float]]:
    """Largest difference at each of some codes: of images in [-1, 1], and of gradients along a random unit direction.

    Of a hundred million ReLUs a few are so near their kink that float32 rounding decides on which side they are, and
    there the two derivatives differ rightly.  In float64 they do not, so gradients are compared in both.
    """
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(CODES, g.latent_dim)).astype(np.float32), np.asarray([207, 980, 404])
    c = rng.normal(size=(3, 128, 128))
    c /= np.linalg.norm(c)
    c_last = c.transpose(1, 2, 0)

    def pulled(model, dtype):
        code = torch.tensor(z, dtype=dtype, requires_grad=True)
        x = model(code, torch.tensor(y), TRUNCATION)
        (x * torch.tensor(c, dtype=dtype)).sum().backward()
        return x.detach().numpy().transpose(0, 2, 3, 1), code.grad.numpy()

    wanted, slope = pulled(twin, torch.float32)
    with jax.default_matmul_precision("float32"):
        got = 2 * np.asarray(_images(g, z, y)) - 1
        mine = np.stack([2 * np.asarray(_slope(g, *zy, c_last.astype(np.float32))[1]) for zy in zip(z, y)])

    def largest(a, b):
        return np.abs(a - b).reshape(CODES, -1).max(1).tolist()

    out = {"images, largest difference": largest(got, wanted), "gradients, largest difference": largest(mine, slope),
           "gradients, largest entry": largest(slope, 0 * slope)}
    if not exact:
        return out
    twin_wide = pulled(twins.fold(twin).double(), torch.float64)[1]
    with jax.enable_x64(True):
        wide = dataclasses.replace(g, module=g.module.clone(dtype="float64"), variables=jax.tree.map(
            lambda a: jnp.asarray(np.asarray(a), jnp.float64), g.variables))
        mine_wide = np.stack([2 * np.asarray(_slope(wide, jnp.asarray(a, jnp.float64), b, c_last)[1])
                              for a, b in zip(z, y)])
    return out | {
        "gradients in float64, largest difference": largest(mine_wide, twin_wide),
        "irob's gradients, float32 from float64": largest(mine, mine_wide),
        "the twin's gradients, float32 from float64": largest(slope, twin_wide)}


def main(config: Config) -> None:
    """Parity first, then time, a table for each batch size; `count` batches in a turn (1 by default)."""
    common.begin(config)
    g, twin = pair(config)
    facts = apart(g, twin, config.seed, config.exact)
    turns = config.count or 1
    folded, last = twins.fold(twin), twins.fold(twin, torch.channels_last)

    for n in config.batch:
        rng = np.random.default_rng(config.seed + n)
        z = rng.normal(size=(n, g.latent_dim)).astype(np.float32)
        y = rng.integers(0, 1000, n)
        code, label = torch.tensor(z), torch.tensor(y)

        def irob(z=z, y=y):
            return [_images(g, z, y) for _ in range(turns)]

        def published(code=code, label=label, n=n):
            with torch.inference_mode():
                for _ in range(turns):
                    twin(code, label, TRUNCATION)

        def ready(model, code=code, label=label):
            with torch.inference_mode():
                for _ in range(turns):
                    model(code, label, TRUNCATION)

        seconds = common.interleave(
            {common.IROB: irob, "PyTorch (published: normalises at every call)": published,
             "PyTorch, normalised once": lambda: ready(folded),
             "PyTorch, normalised once, channels last": lambda: ready(last)}, config.rounds)
        common.report(f"biggan_{n}", "image", n * turns, seconds, config, width=config.width, dtype=config.dtype,
                      **facts)


if __name__ == "__main__":
    run(main, Config, prog="python -m benchmarks.biggan")
