"""The limit for label robustness of a generator or a data set, in pieces that a killed run finds again.

Images of a generator are independent draws of the distribution that is spoken of, so the limit certifies.  Of a data
set that is an assumption, and stands with the row.  A judge keeps only images whose intended label it confirms: the
limit is then that of the distribution given this, of which the kept images are independent draws.

Memory: images are float32, in a file that is mapped into memory where work is kept on disk, and the search adds what
`irob.bounds.conflicts` says.  The images' file is removed when the limit is known.

Coupled codes (irob.evaluation.limits.coupled) bring more conflicts among equally many images.

Statements: those of the listed epsilons hold together with `confidence`, each at 1 - (1 - confidence) / m.  The curve
over a fine grid holds with `confidence` too, all of it at once, and separately from the list.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from irob.bounds.conflicts import COLUMNS, LEAST, MOST, ROWS, Edges, Search, within_host
from irob.bounds.label_limit import each, examined, upper
from irob.bounds.matching import largest_fractional_matchings
from irob.core import keys
from irob.core.check import InputError, integer
from irob.core.compile import jit
from irob.core.progress import progress
from irob.core.rows import ANY, LabelLimit, Number, Row
from irob.core.store import Task, fingerprint, whole
from irob.core.threat import ThreatRecord
from irob.core.types import Classifier, Dataset, Generator, value
from irob.evaluation.limits import coupled
from irob.evaluation.limits.coupled import Coupling
from irob.evaluation.limits.regions import draw

METHOD = "label limit (fractional matching)"
BLOCK = 10_000  # images of a generator that are one piece
GRID = 60  # epsilons of the curve
EDGE_BYTES = 128  # what a conflict takes while the matching is found, at most
INDEPENDENT = "the images are independent draws of one distribution"


@dataclasses.dataclass(frozen=True)
class Job:
    """The label limits to compute: epsilons, norm and joint confidence.

    epsilons: of the rows.  confidence: of all of them together.  grid: epsilons of the curve, evenly from 0 to the
    largest; 0 for none.  most: conflicts that are kept, at some EDGE_BYTES each; more are thinned, which is sound.
    """

    epsilons: Sequence[float]
    norm: str = "l2"
    confidence: float = 0.95
    grid: int = GRID
    most: int = MOST

    def check(self) -> "Job":
        """Raises `InputError` for an unknown norm, epsilons or a confidence out of range."""
        examined(np.zeros((1, 1)), np.zeros(1, int), list(self.epsilons), self.norm)
        each(self.confidence, len(self.epsilons))
        return self

    def all(self) -> list[float]:
        """The epsilons of rows and curve, increasing."""
        return sorted({*map(float, self.epsilons), *self.fine()})

    def fine(self) -> list[float]:
        """The epsilons of the curve."""
        return [max(self.epsilons) * (k + 1) / self.grid for k in range(self.grid)]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How the images of a generator are drawn.

    priors: f[K] of the classes; equal by default.  judge: keeps only images that it gives the class they were made for.
    coupling: classes that share codes; equally many images of every class, and neither judge nor priors.
    """

    priors: Any = None
    judge: Classifier | None = None
    coupling: Coupling | None = None


@value()
class Drawn:
    """Maps an image to itself and the class that the judge gives it, for `draw`; without a judge the class is -1."""

    judge: Classifier | None

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x: f[H,W,C] -> (x, i[])."""
        return x, jax.numpy.int32(-1) if self.judge is None else self.judge(x).argmax()


def of_generator(
    key: jax.Array, generator: Generator, job: Job, count: int, *, how: Drawing = Drawing(), task: Task = Task(),
    seed: int | None = None,
) -> list[Row]:
    """Rows of the label limit of a generator's distribution.

    Args:
        key: typed; image i depends on it and on i alone.
        count: images, those that the judge confirms if there is one.
        how: they are drawn.  seed: of the images, to stand in the rows.

    Raises:
        InputError: see `irob.bounds.label_limit`; a generator whose latent law is not known; a judge that confirms
            fewer than one image in a hundred.
    """
    keys.require(key)
    count, pieces, judge, coupling = integer("samples", count, low=1), task.pieces, how.judge, how.coupling
    job.check()
    if coupling is not None:
        if judge is not None or how.priors is not None:
            raise InputError("coupling: got a judge or priors beside it, wanted neither")
        if count % len(coupling.leaders):
            raise InputError(f"samples: got {count}, wanted a multiple of the {len(coupling.leaders)} classes")
    identity = {
        "key": fingerprint(key), "generator": whole(generator), "count": count,
        "coupling": coupling and [fingerprint(coupling.matrices), *coupling.leaders],
        "priors": None if how.priors is None else fingerprint(np.asarray(how.priors, np.float64)),
        "judge": judge and [judge.name, fingerprint(judge.variables)], **dataclasses.asdict(job)}

    images = pieces.state("label-limit-images", identity)

    def compute() -> dict[str, Any]:
        x, y, drawn, sums = _images(key, generator, how, count, task, identity, images)
        return {**_sizes(x, y, job, task, {**identity, "images": sums}), "drawn": drawn}

    found = pieces.get("label-limit", identity, compute)
    if images:
        images.unlink(missing_ok=True)
    name, about = task.dataset or generator.name, LabelLimit(seed=seed)
    if judge is not None:
        about = dataclasses.replace(about, judge=judge.name, drawn=int(found["drawn"]))
        name += f" confirmed by {judge.name}"  # another distribution
    if coupling is not None:
        about = dataclasses.replace(about, coupling=coupling.name, groups=tuple(coupling.sizes()),
                                    assumptions=coupled.PRESERVED)
    return _rows(job, found, count, name, about)


def of_dataset(data: Dataset, job: Job, *, task: Task = Task(), split: str = "") -> list[Row]:
    """Rows of the label limit of the distribution that a data set was drawn from, if its images are independent."""
    pieces, _ = task.pieces, job.check()
    x, y, _ = examined(data.x, data.y, list(job.epsilons), job.norm)
    digest = [fingerprint(x[s:s + BLOCK]) for s in range(0, len(x), BLOCK)] if pieces.folder else ""
    identity = {"x": digest, "y": fingerprint(y), **dataclasses.asdict(job)}
    found = pieces.get("label-limit", identity, lambda: _sizes(x, y, job, task, identity))
    return _rows(job, found, len(y), data.name, LabelLimit(assumptions=INDEPENDENT, split=split))


def _images(key, generator, how: Drawing, count: int, task: Task, identity, path):
    """(x f32[n,H,W,C], labels i[n], how many were drawn, check sums by which pieces of the search know the images)."""
    shape, judge, coupling = (count, *generator.image_shape), how.judge, how.coupling
    x: np.ndarray = np.empty(shape, np.float32)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        x = np.memmap(path, np.float32, "r+" if path.exists() else "w+", shape=shape)
    labels, sums, have, drawn = [], [], 0, 0
    block = BLOCK // len(coupling.leaders) * len(coupling.leaders) if coupling else BLOCK
    starts = progress(itertools.count(0, block), total=-(-count // block), label=task.says("images"))
    for start in starts:
        room = x[have:]

        def make(start=start, room=room) -> dict[str, Any]:
            size = block if judge else min(block, len(room))
            if coupling is None:
                (images, seen), y = draw(key, generator, size, Drawn(judge), priors=how.priors, start=start)
            else:
                images, y = coupled.draw(key, generator, coupling, size, start=start)
                seen = y
            kept = np.flatnonzero((seen == y) | (judge is None))[:len(room)]
            room[:len(kept)] = images[kept]
            used = kept[-1] + 1 if len(kept) == len(room) else size
            return {"y": y[kept], "drawn": used, "sum": _sum(room[:len(kept)])}

        found = task.pieces.get("label-limit-images", {**identity, "start": start}, make)
        if _sum(room[:len(found["y"])]) != found["sum"]:  # the file has gone meanwhile
            found = make()
        labels.append(found["y"])
        sums.append(int(found["sum"]))
        have, drawn = have + len(labels[-1]), drawn + int(found["drawn"])
        if have == count:
            break
        if have < drawn / 100:
            assert judge is not None
            raise InputError(f"judge {judge.name}: confirms {have} of {drawn} images, wanted one in a hundred at least")
    return x, np.concatenate(labels), drawn, sums


def within_device(left: np.ndarray, right: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`irob.bounds.conflicts.within_host` on an accelerator: one program, whatever the size of the block."""
    a, b = len(left), len(right)
    left = np.pad(left, ((0, max(0, ROWS - a)), (0, 0)))
    reach = np.pad(reach, (0, max(0, ROWS - a)), constant_values=-np.inf)  # no entry is as small
    right = np.pad(right, ((0, max(0, COLUMNS - b)), (0, 0)))
    count, place, size = jax.device_get(_within(left, right, reach, b))
    if count > LEAST:
        return within_host(left[:a], right[:b], reach[:a])
    row, column = np.divmod(place[:count].astype(np.int64), len(right))
    return row * b + column, size[:count]


@jit
def _within(left, right, reach, columns):
    product = jax.numpy.matmul(left, right.T, precision="highest")
    small = (product <= reach[:, None]) & (jax.numpy.arange(len(right)) < columns)
    place = jax.numpy.flatnonzero(small, size=LEAST, fill_value=0)
    return small.sum(), place, product.ravel()[place]


def _sum(x: np.ndarray) -> int:
    return zlib.crc32(x.tobytes())


def _sizes(x, y, job: Job, task: Task, identity: dict[str, Any]) -> dict[str, Any]:
    """The largest fractional matchings of the graph at every epsilon of the job, and whether it is all there."""
    epsilons = job.all()
    device = None if jax.default_backend() == "cpu" else within_device
    search = Search(x, y, epsilons, job.norm, most=job.most, within=device)

    def stripe(k: int) -> Edges:
        found = task.pieces.get("label-limit-edges", {**identity, "stripe": k}, lambda: vars(search.edges(k)))
        return Edges(found["i"], found["j"], found["level"], bool(found["all"]))

    stripes = progress(range(search.stripes()), total=search.stripes(), label=task.says("conflicts"))
    edges = search.all_edges(map(stripe, stripes))
    sizes = largest_fractional_matchings(edges.i, edges.j, edges.level, len(y), len(epsilons))
    return {"matching": sizes, "complete": edges.all, "edges": len(edges)}


def _rows(job: Job, found: dict[str, Any], n: int, dataset: str, about: LabelLimit) -> list[Row]:
    """A row for each epsilon of the list; the first carries the curve."""
    sizes = dict(zip(job.all(), found["matching"].tolist()))
    level, rows, fine = each(job.confidence, len(job.epsilons)), [], job.fine()
    about = dataclasses.replace(about, confidence=level, joint_confidence=job.confidence,
                                complete=bool(found["complete"]), conflicts=int(found["edges"]))
    for k, e in enumerate(map(float, job.epsilons)):
        curve = None
        if fine and k == 0:
            band = each(job.confidence, len(fine))
            curve = {"epsilon": tuple(fine), "sample": tuple(1 - sizes[e] / n for e in fine),
                     "upper": tuple(upper(sizes[e], n, band, about.groups) for e in fine)}
        detail = dataclasses.replace(about, sample_limit=1 - sizes[e] / n, matching=sizes[e], curve=curve)
        rows.append(detail.row(dataset, ANY, ThreatRecord.lp(job.norm, e),
                               Number(upper(sizes[e], n, level, about.groups), n=n), METHOD))
    return rows
