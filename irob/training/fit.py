"""The one training loop: epochs of jitted steps, a log, checkpoints, and a resume that changes nothing.

Randomness depends on (key, epoch, step) alone: the order of epoch e is a permutation drawn with fold_in(key, e),
step s gets fold_in(fold_in(key, e), s).  So a run that was killed anywhere and resumed from its last checkpoint
takes the very steps that an uninterrupted run takes.
"""

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from irob import checkpoint
from irob.core import mesh
from irob.core.check import InputError, integer, writable_folder, write_atomically
from irob.core.compile import jit
from irob.core.progress import progress
from irob.training.source import Rows, Source

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
    """

    epochs: int
    batch_size: int
    workdir: Any
    resume: bool = False
    checkpoint_every: int = 5
    keep: int | None = None
    label: str = "train"
    config: dict | None = None

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
    done = _begin(workdir, folder, run.config, run.resume)
    if done:
        state = checkpoint.restore(folder, done, like=state)
    state = mesh.everywhere(state)
    placed = {} if mesh.replicated() is None else {"out_shardings": mesh.replicated()}
    compiled = jit(step, donate_argnums=1, **placed)
    for epoch in range(done, epochs):
        begin, of_epoch = time.monotonic(), jax.random.fold_in(key, epoch)
        batches, count = source.batches(of_epoch, epoch, size), source.steps(size)
        state, metrics = _epoch(compiled, of_epoch, state, batches, count, last_good=checkpoint.latest(folder),
                                where=f"{run.label} epoch {epoch + 1}/{epochs}")
        record = {"epoch": epoch + 1, **metrics, "seconds": round(time.monotonic() - begin, 2)}
        record |= evaluate(state, epoch + 1) if evaluate else {}
        with open(workdir / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        if (epoch + 1) % run.checkpoint_every == 0 or epoch + 1 == epochs:
            checkpoint.save(folder, epoch + 1, jax.device_get(state))  # of one device's size, whatever their number
            if run.keep:
                checkpoint.keep(folder, run.keep)
    return state


def _begin(workdir: pathlib.Path, folder: pathlib.Path, config: dict | None, resume: bool) -> int:
    """The epoch to go on from; refuses to mix two runs."""
    latest = checkpoint.latest(folder) or 0
    if latest and not resume:
        what = f"workdir {str(workdir)!r} holds a run with {latest} epochs"
        raise InputError(f"{what}; go on with --resume or choose another")
    recorded = workdir / "config.json"
    text = json.dumps(config or {}, indent=2, sort_keys=True, default=str) + "\n"
    if latest and recorded.is_file() and recorded.read_text(encoding="utf-8") != text:
        raise InputError(f"workdir {str(workdir)!r} holds a run with other settings ({recorded.name}); choose another")
    write_atomically(recorded, text)
    log = workdir / "log.jsonl"
    if log.is_file():  # epochs after the checkpoint are trained, and logged, again
        kept = [line for line in log.read_text(encoding="utf-8").splitlines() if _epoch_of(line) <= latest]
        write_atomically(log, "".join(line + "\n" for line in kept))
    return latest


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
