"""What a generator does to an image after its network: down-sampling, part of the map whose constant is measured.

Each is linear and separable, x -> A x B' for every channel, so its Lipschitz constant is known too.
"""

import dataclasses
import functools
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from irob.core.check import InputError, integer, unknown


@dataclasses.dataclass(frozen=True)
class Resize:
    """Down-samples a square image f[before,before,C] to f[size,size,C].

    area: each new pixel is the mean of those that it covers (a proper low-pass, so nothing is aliased).
    nearest: it is one of them, the first, as PyTorch's default `interpolate` takes it.
    bilinear: it is interpolated between the four about its centre, without a low-pass.

    >>> Resize(1, "area", 2)(jnp.arange(4.0).reshape(2, 2, 1)).item()
    1.5
    """

    METHODS: ClassVar[tuple[str, ...]] = ("area", "nearest", "bilinear")
    size: int
    method: str
    before: int

    def __post_init__(self):
        if self.method not in self.METHODS:
            raise unknown("resize", self.method, self.METHODS)
        if integer("size", self.size, low=1) > self.before:
            raise InputError(f"size: got {self.size}, wanted at most the {self.before} pixels that there are")

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f[before,before,C] -> f[size,size,C]."""
        if self.method == "nearest":
            rows = np.arange(self.size) * self.before // self.size
            return x[rows][:, rows]
        a = jnp.asarray(matrix(self.size, self.method, self.before), x.dtype)
        return jnp.einsum("pi,ijc,qj->pqc", a, x, a, precision="highest")

    @property
    def lipschitz(self) -> float:
        """The operator norm, |A|^2: 1 for nearest, size / before for area where that is a whole number."""
        return float(np.linalg.norm(matrix(self.size, self.method, self.before), 2) ** 2)


@functools.cache
def matrix(size: int, method: str, before: int) -> np.ndarray:
    """Row p: the weights of new pixel p over the old ones, f[size,before]; rows sum to 1."""
    out = np.zeros((size, before))
    for p in range(size):
        if method == "nearest":
            out[p, p * before // size] = 1
        elif method == "area":
            low, high = p * before // size, math.ceil((p + 1) * before / size)
            out[p, low:high] = 1 / (high - low)
        else:
            centre = max((p + 0.5) * before / size - 0.5, 0.0)
            low = min(int(centre), before - 1)
            share = centre - low
            out[p, low] += 1 - share
            out[p, min(low + 1, before - 1)] += share
    return out
