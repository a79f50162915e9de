"""The one training loop: epochs of jitted steps, a log, checkpoints, and a resume that changes nothing.

Randomness depends on (key, epoch, step) alone: the order of epoch e is a permutation drawn with fold_in(key, e),
step s gets fold_in(fold_in(key, e), s).  So a run that was killed anywhere and resumed from its last checkpoint
takes the very steps that an uninterrupted run takes.
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import filelock
import jax
import numpy as np

from irob import checkpoint
from irob.core import mesh
from irob.core.check import LOCK, InputError, integer, writable_folder, write_atomically
from irob.core.compile import jit
from irob.core.progress import progress, tell
from irob.training.source import Rows, Source

CONFIG = "config.json"
LOOK_EVERY = 50  # steps between looks at the metrics: each look waits for the device


class TrainingError(InputError):
    """Training cannot go on: where it stopped, and the last good checkpoint; one line at the command line."""


@dataclasses.dataclass(frozen=True)
class Run:
    """How long a training goes on, and where it is kept.

    epochs, batch_size: whole numbers.  workdir: gets log.jsonl, config.json and checkpoints/<epoch>.  resume: go on
    from the last checkpoint; without it a workdir that has one is refused.  checkpoint_every: epochs between
    checkpoints; the last epoch always gets one.  keep: only the newest so many checkpoints stay; None keeps all.
    label: shown with the progress.  config: what decides the result; a workdir of another one is refused.
    free: names in it that may differ when a run is gone on with.
    """

    epochs: int
    batch_size: int
    workdir: Any
    resume: bool = False
    checkpoint_every: int = 5
    keep: int | None = None
    label: str = "train"
    config: dict | None = None
    free: tuple[str, ...] = ()

    def __post_init__(self):
        for name in ("epochs", "batch_size", "checkpoint_every"):
            integer(name.replace("_", " "), vars(self)[name], low=1)


def fit(
    key: jax.Array,
    state: Any,
    step: Callable,
    data: Any,
    run: Run | None = None,
    *,
    evaluate: Callable | None = None,
    **settings: Any,
) -> Any:
    """Trains and returns the final state.

    Where there are several devices, every batch that their number divides is divided over them, and weights are on
    all: the result is that of one device up to the order of float32 sums.

    Args:
        key: typed key of the run.
        state: pytree of everything that training changes.
        step: (key, state, batch) -> (state, metrics: dict of scalars); jitted here, its state donated.
        data: a `Source`, or a pytree of host arrays [n, ...], of which the last partial batch of an epoch is left out.
        run: length, folder and the like; or its fields by name, as `settings`.
        evaluate: (state, epoch) -> dict of floats, after every epoch.

    Raises:
        InputError: bad sizes, a workdir that cannot be written or holds another run.
        TrainingError: a metric is NaN or infinite.
    """
    run = Run(**settings) if run is None else run
    source = data if isinstance(data, Source) else Rows(data)
    epochs, size = int(run.epochs), int(run.batch_size)
    if source.steps(size) < 1:
        raise source.refuse(size)
    workdir = writable_folder(run.workdir)
    folder = workdir / "checkpoints"
    with alone(workdir):
        done = begun(run)
        _cut(workdir / "log.jsonl", done)
        if done:
            state = checkpoint.restore(folder, done, like=state)
        state = mesh.everywhere(state)
        placed = {} if mesh.replicated() is None else {"out_shardings": mesh.replicated()}
        compiled = jit(step, donate_argnums=1, **placed)
        for epoch in range(done, epochs):
            begin, of_epoch = time.monotonic(), jax.random.fold_in(key, epoch)
            batches, count = source.batches(of_epoch, epoch, size), source.steps(size)
            where = f"{run.label} epoch {epoch + 1}/{epochs}".strip()
            state, metrics = _epoch(compiled, of_epoch, state, batches, count, last_good=checkpoint.latest(folder),
                                    where=where)
            record = {"epoch": epoch + 1, **metrics, "seconds": round(time.monotonic() - begin, 2)}
            record |= evaluate(state, epoch + 1) if evaluate else {}
            if epoch == done:  # not before there is something to describe
                write_atomically(workdir / CONFIG, _text(run.config))
            with open(workdir / "log.jsonl", "a", encoding="utf-8") as log:
                log.write(json.dumps(record) + "\n")
            if (epoch + 1) % run.checkpoint_every == 0 or epoch + 1 == epochs:
                checkpoint.save(folder, epoch + 1, jax.device_get(state))  # of one device's size, whatever their number
                if run.keep:
                    checkpoint.keep(folder, run.keep)
            if run.label:
                tell(f"{where}: {_figures(record)}")
    return state


@contextlib.contextmanager
def alone(workdir: pathlib.Path) -> Iterator[None]:
    """Within it no other training works in the folder; raises `InputError` where one does."""
    if not workdir.is_dir():  # nobody is there
        yield
        return
    lock = filelock.FileLock(workdir / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(f"workdir {str(workdir)!r}: another training is at work there; wait for it, or choose "
                         "another with --workdir") from None
    try:
        yield
    finally:
        lock.release()


def begun(run: Run) -> int:
    """The epochs that stand in the workdir, from which `fit` goes on; needs no data.

    Raises:
        InputError: they are not to be gone on with, are those of another run, or more than are wanted.
    """
    workdir = pathlib.Path(run.workdir)
    latest = checkpoint.latest(workdir / "checkpoints") or 0
    if not latest:
        return 0
    holds = f"workdir {str(workdir)!r} holds a run with"
    if not run.resume:
        raise InputError(f"{holds} {latest} epochs; go on with --resume or choose another")
    before, now = recorded(workdir), json.loads(_text(run.config))
    if before is not None:
        names = sorted(k for k in {*before, *now} - {*run.free} if before.get(k) != now.get(k))
        if names:
            raise InputError(f"{holds} other settings ({CONFIG}: {', '.join(names)}); choose another")
    if latest > run.epochs:
        raise InputError(f"{holds} {latest} epochs, wanted {run.epochs}; give --epochs {latest} or more, or choose "
                         "another")
    return latest


def recorded(workdir) -> dict[str, Any] | None:
    """The config of the run in a workdir, as its JSON has it; None where there is none."""
    file = pathlib.Path(workdir) / CONFIG
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _text(config: dict | None) -> str:
    return json.dumps(config or {}, indent=2, sort_keys=True, default=str) + "\n"


def _cut(log: pathlib.Path, latest: int) -> None:
    """Epochs after the checkpoint are trained, and logged, again."""
    if log.is_file():
        kept = [line for line in log.read_text(encoding="utf-8").splitlines() if _epoch_of(line) <= latest]
        write_atomically(log, "".join(line + "\n" for line in kept))


def _figures(record: dict[str, Any]) -> str:
    """What a line of the log says, for a person.

    >>> _figures({"epoch": 3, "loss": 0.12345678, "seconds": 40.2, "robust": 0.5, "evaluation_seconds": 2.0})
    'loss 0.1235, robust 0.5, 42 s'
    """
    aside = ("epoch", "seconds", "evaluation_seconds")
    shown = [f"{name} {value:.4g}" for name, value in record.items() if name not in aside]
    return ", ".join([*shown, f"{sum(record.get(name, 0) for name in aside[1:]):.0f} s"])


def _epoch_of(line: str) -> float:
    try:
        return json.loads(line)["epoch"]
    except (ValueError, KeyError, TypeError):  # a line cut short by a kill
        return math.inf


def _epoch(step, key, state, batches, count, *, where, last_good):
    """The steps of one epoch; the mean of each metric."""
    pending: list[tuple[int, Any]] = []
    sums: dict[str, float] = {}

    def look():
        for i, metrics in pending:
            for name, value in jax.device_get(metrics).items():
                if not np.isfinite(value):
                    good = f"epoch {last_good}" if last_good else "none yet"
                    at = f"{where}, step {i + 1}/{count}: {name} is {value}"
                    raise TrainingError(f"{at}; last good checkpoint: {good}; try a smaller --learning-rate")
                sums[name] = sums.get(name, 0.0) + float(value)
        pending.clear()

    for i in progress(range(count), total=count, label=where):
        state, metrics = step(jax.random.fold_in(key, i), state, _placed(batches(i)))
        pending.append((i, metrics))
        if len(pending) >= LOOK_EVERY:
            look()
    look()
    return state, {name: round(total / count, 6) for name, total in sums.items()}


def _placed(batch):
    """The batch, divided over the devices where there are several and their number divides it."""
    size = len(jax.tree.leaves(batch)[0])
    return batch if mesh.count() == 1 or size % mesh.count() else mesh.divided(batch)
