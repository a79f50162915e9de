"""From one example to many: vmap in chunks inside jit, and a stream of chunks from the host.

Per-example code is written once without a batch axis; these two functions are where it gets one.
"""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import numpy as np

from irob.core import mesh
from irob.core.check import integer
from irob.core.progress import progress


@dataclasses.dataclass(frozen=True)
class Work:
    """How work on many examples is cut, shown and numbered; results do not depend on the chunk.

    chunk: examples at a time, or what else the function says that it counts; None for what is fast and fits.
    label: shown with the progress; an empty one shows nothing.
    start: number of the first example, on which its randomness depends: a part of the examples gets what the whole
        gets.

    >>> Work(64, "attack")
    Work(chunk=64, label='attack', start=0)
    """

    chunk: int | None = None
    label: str = ""
    start: int = 0

    def __post_init__(self):
        if self.chunk is not None:
            integer("chunk", self.chunk, low=1)


def map_examples(function: Callable, *arrays, chunk: int):
    """vmap in chunks, inside jit: memory grows with `chunk`, not with n.  arrays: pytrees of [n, ...]."""
    return jax.lax.map(lambda a: function(*a), arrays, batch_size=chunk)


def slices(n: int, chunk: int) -> Iterator[slice]:
    """The chunks of range(n) in order."""
    return (slice(i, min(i + chunk, n)) for i in range(0, n, chunk))


def bucket(n: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, ... that is not below n: few sizes, so that programs
    are met again, and not much more work, less than a quarter from 16 on.

    >>> [bucket(n) for n in (1, 3, 5, 10, 13, 50, 100)]
    [1, 3, 6, 12, 16, 56, 112]
    """
    step = max(1, (1 << (n - 1).bit_length()) // (8 if n > 16 else 4))
    return -(-n // step) * step


def stream(function: Callable, *arrays, chunk: int, label: str = "", start: int = 0):
    """Calls function(index i[c], *chunks) on chunks of equal size and joins the results on the host.

    The last chunk is filled up with copies of its first row, so that one compiled program serves all, and fewer
    examples than a chunk up to a bucket, so that it serves other numbers of them too; the copies are cut off again.
    `index` is each example's number in the whole data set (from `start`), for `keys.for_examples`.  Where there are
    several devices, every chunk is divided over them and is a multiple of their number.
    Returns a pytree of numpy arrays [n, ...].
    """
    n = len(jax.tree.leaves(arrays)[0])
    size = mesh.whole(min(max(1, chunk), bucket(n)))
    chunk = min(size, n)
    pieces = []
    for s in progress(slices(n, chunk), total=-(-n // chunk), label=label):
        count = s.stop - s.start
        rows = np.concatenate([np.arange(s.start, s.stop), np.full(size - count, s.start)])
        index, *part = mesh.divided((
            (rows + start).astype(np.int32), *jax.tree.map(lambda a, rows=rows: np.asarray(a)[rows], arrays)))
        result = function(index, *part)
        pieces.append(jax.tree.map(lambda a, count=count: np.asarray(a)[:count], result))
    return jax.tree.map(lambda *a: np.concatenate(a), *pieces)
