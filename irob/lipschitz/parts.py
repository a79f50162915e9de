"""A generator as a chain of parts, each a linear map, a bias and a one-dimensional activation; and their norms.

    a_k = W_k h_{k-1} + b_k,    h_k = phi_k(a_k),    h_0 = z.

Gains that follow a linear map (batch-norm in inference) are merged into it.  The maps are never formed: `push` applies
W_k and `pull` its transpose to many vectors at once.

Norms from above: of an explicit matrix by the eigenvalues of its smaller Gram matrix; of a transposed convolution by
its symbol.  Laid out on the whole plane it is diagonal in frequency, with blocks H(w) of 2x2 phases x channels, and
the map on a finite image is a part of it, so that |W| <= sup_w |H(w)|.  |H(w) u|^2 is a trigonometric polynomial of
degree 1 in each axis; its supremum is at most (cos pi/n)^-2 times its maximum on a grid of n x n frequencies.
(Otherwise: |W| <= | |W| | <= max (|W|'|W| x / x)^1/2 for any x > 0, Collatz and Wielandt.)
"""

import dataclasses
import functools
import hashlib
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.core import compile, layers
from irob.core.check import InputError

MARGIN = 1e-4  # relative, on every norm: float32 sums here are off by 1e-6
EXPLICIT = 1200  # matrices with a side up to this are formed
CHUNK = 128
GRID = 32
LINEAR = (layers.Dense, layers.Conv, layers.ConvTranspose, layers.Scale)
ACTIVATIONS = (layers.ReLU, layers.LeakyReLU, layers.Tanh, layers.Clip)


@dataclasses.dataclass(frozen=True)
class Part:
    """layer: linear, its bias apart.  activation: one of ACTIVATIONS, or None for the identity."""

    layer: Any
    bias: np.ndarray
    activation: Any
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape_out)

    def push(self, x: np.ndarray) -> np.ndarray:
        """W x for every row: f[m, n_in] -> f[m, n_out]."""
        return _chunked(_push, self.layer, x, self.shape_in)

    def pull(self, y: np.ndarray) -> np.ndarray:
        """W' y for every row: f[m, n_out] -> f[m, n_in]."""
        return _chunked(functools.partial(_pull, shape_in=self.shape_in), self.layer, y, self.shape_out)

    def squared(self) -> "Part":
        """The map whose entries are the squares of these."""
        return dataclasses.replace(self, layer=_changed(self.layer, jnp.square))

    def absolute(self) -> "Part":
        """The map whose entries are the absolute values of these."""
        return dataclasses.replace(self, layer=_changed(self.layer, jnp.abs))


def split(given: tuple[Any, ...], latent_dim: int) -> tuple[Part, ...]:
    """The parts of explicit layers.

    Raises:
        InputError: a layer that is neither linear nor a one-dimensional activation, by its name.
    """
    parts: list[Part] = []
    shape: tuple[int, ...] = (latent_dim,)
    for layer in given:
        last = parts[-1] if parts else None
        after = tuple(jax.eval_shape(layer, jax.ShapeDtypeStruct(shape, jnp.float32)).shape)
        if isinstance(layer, layers.Reshape | layers.Flatten):
            pass
        elif isinstance(layer, layers.Scale) and last and last.activation is None and shape == last.shape_out and (
                hasattr(last.layer, "kernel") and np.ndim(layer.gain) <= 1):
            gain = np.asarray(layer.gain)
            bias = np.broadcast_to(gain * last.bias.reshape(shape) + np.asarray(layer.bias), shape).ravel()
            parts[-1] = dataclasses.replace(last, layer=_changed(last.layer, lambda k, g=gain: k * g), bias=bias)
        elif isinstance(layer, LINEAR):
            bias = np.asarray(layer(jnp.zeros(shape)), np.float32).ravel()
            parts.append(Part(_changed(layer, lambda k: k), bias, None, shape, after))
        elif isinstance(layer, ACTIVATIONS):
            if last is None or last.activation is not None or shape != last.shape_out:
                last = Part(layers.Scale(jnp.float32(1), jnp.float32(0)), np.zeros(math.prod(shape), np.float32),
                            None, shape, shape)
                parts.append(last)
            parts[-1] = dataclasses.replace(parts[-1], activation=layer)
        else:
            raise InputError(f"layers: got {type(layer).__name__}, wanted "
                             f"{', '.join(t.__name__ for t in (*LINEAR, *ACTIVATIONS))}, Reshape or Flatten")
        shape = after
    return tuple(parts)


def _changed(layer: Any, change) -> Any:
    """The linear layer with changed entries and without bias."""
    name = "kernel" if hasattr(layer, "kernel") else "gain"
    return dataclasses.replace(layer, **{name: change(getattr(layer, name)), "bias": jnp.zeros_like(layer.bias)})


@functools.partial(compile.jit, static_argnums=(2,))
def _push(layer, x, shape):
    return jax.vmap(lambda v: layer(v.reshape(shape)).ravel())(x)


@functools.partial(compile.jit, static_argnums=(2,), static_argnames=("shape_in",))
def _pull(layer, y, shape, shape_in):
    def one(v):
        return jax.linear_transpose(layer, jax.ShapeDtypeStruct(shape_in, jnp.float32))(v.reshape(shape))[0].ravel()

    return jax.vmap(one)(y)


def _chunked(work, layer, x: np.ndarray, shape) -> np.ndarray:
    """Row by row in chunks of one size, so that one program serves all."""
    if isinstance(layer, layers.Dense):  # a plain product
        kernel = np.asarray(layer.kernel)
        return x @ (kernel if work is _push else kernel.T)
    done = []
    for start in range(0, len(x), CHUNK):
        rows = x[start:start + CHUNK]
        padded = np.zeros((min(CHUNK, max(1, 1 << (len(rows) - 1).bit_length())), x.shape[1]), np.float32)
        padded[:len(rows)] = rows
        done.append(np.asarray(work(layer, padded, shape))[:len(rows)])
    return np.concatenate(done) if done else np.empty((0, 0), np.float32)


def norm(rows: np.ndarray) -> float:
    """Operator norm of an explicit matrix, from above.

    >>> round(norm(np.diag([3.0, 2.0])), 3)
    3.0
    """
    if not rows.size:
        return 0.0
    gram = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
    return float(np.sqrt(_top(gram.astype(np.float64))) * (1 + MARGIN))


def _top(gram: np.ndarray) -> float:
    """The largest eigenvalue from above, to 0.1 % where the matrix is large.

    Power iteration guesses t; a Cholesky factor of t I - G then proves that G < t, at a tenth of the cost of eigvalsh.
    """
    if len(gram) > 150 and np.any(gram):
        x = np.ones(len(gram)) + np.arange(len(gram)) % 7
        for _ in range(30):
            x = gram @ (x / np.linalg.norm(x))
        guess = np.linalg.norm(x)
        for slack in (1e-3, 4e-3, 2e-2):
            try:
                np.linalg.cholesky((1 + slack) * guess * np.eye(len(gram)) - gram)
                return float((1 + slack) * guess)
            except np.linalg.LinAlgError:
                continue
    return max(float(np.linalg.eigvalsh(gram)[-1]), 0.0)


def part_norm(part: Part) -> float:
    """Operator norm of a part's linear map, from above; remembered, since classes share most of their parts."""
    entries = np.ascontiguousarray(part.layer.kernel if hasattr(part.layer, "kernel") else part.layer.gain)
    name = (type(part.layer).__name__, part.shape_in, part.shape_out, hashlib.sha256(entries.tobytes()).digest())
    if name not in _NORMS:
        _NORMS[name] = _part_norm(part)
    return _NORMS[name]


_NORMS: dict[tuple, float] = {}


def _part_norm(part: Part) -> float:
    if isinstance(part.layer, layers.Scale):
        return float(np.max(np.abs(np.asarray(part.layer.gain)))) * (1 + MARGIN)
    n_in = math.prod(part.shape_in)
    if n_in <= EXPLICIT:
        return norm(part.push(np.eye(n_in, dtype=np.float32)))
    if part.size <= EXPLICIT:
        return norm(part.pull(np.eye(part.size, dtype=np.float32)))
    if isinstance(part.layer, layers.ConvTranspose):
        return _symbol_norm(np.asarray(part.layer.kernel, np.float64)) * (1 + MARGIN)
    return absolute_norm(part, np.ones(n_in, np.float32), np.ones(part.size, np.float32))


def _symbol_norm(kernel: np.ndarray) -> float:
    """sup |H(w)| of the transposed convolution 4x4, stride 2: taps 2 q + r of the phase r, shifted by q coarse rows."""
    c, o = kernel.shape[2:]
    taps = kernel.reshape(2, 2, 2, 2, c, o)  # row q, r; column q, r
    w = np.exp(2j * np.pi * np.arange(GRID) / GRID)
    shift = np.stack([np.ones(GRID), w])  # q = 0, 1
    top = 0.0
    for i in range(GRID):
        rows = np.einsum("q,qrstco->rstco", shift[:, i], taps)
        h = np.einsum("sn,rstco->nrtoc", shift, rows).reshape(GRID, 4 * o, c)
        gram = h.conj().transpose(0, 2, 1) @ h
        top = max(top, float(np.linalg.eigvalsh(gram)[:, -1].max()))
    return math.sqrt(top) / math.cos(math.pi / GRID)


def absolute_norm(part: Part, left: np.ndarray, right: np.ndarray, steps: int = 10) -> float:
    """|diag(left) W diag(right)| from above, by the norm of the matrix of absolute values (left, right >= 0)."""
    whole, x = part.absolute(), np.ones(len(right), np.float32)
    bound = math.inf
    for _ in range(steps):
        y = right * whole.pull((left**2 * whole.push((right * x)[None])[0])[None])[0]
        live = right > 0
        if not live.any() or not np.any(y > 0):
            return 0.0
        x = np.maximum(x, 1e-12 * x.max())
        bound = min(bound, float(np.max(y[live] / x[live])))
        x = y / y.max() + 1e-9
    return math.sqrt(bound) * (1 + MARGIN)
