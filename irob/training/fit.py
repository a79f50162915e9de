"""The one training loop: epochs of jitted steps, a log, checkpoints, and a resume that changes nothing.

Randomness depends on (key, epoch, step) alone: the order of epoch e is a permutation drawn with fold_in(key, e),
step s gets fold_in(fold_in(key, e), s).  So a run that was killed anywhere and resumed from its last checkpoint
takes the very steps that an uninterrupted run takes.
"""

import json
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from irob import checkpoint
from irob.core.check import InputError, integer, writable_folder, write_atomically
from irob.core.compile import jit
from irob.core.progress import progress

LOOK_EVERY = 50  # steps between looks at the metrics: each look waits for the device


class TrainingError(InputError):
    """Training cannot go on: where it stopped, and the last good checkpoint; one line at the command line."""


def fit(
    key: jax.Array,
    state: Any,
    step: Callable,
    data: Any,
    *,
    epochs: int,
    batch_size: int,
    workdir,
    resume: bool = False,
    evaluate: Callable | None = None,
    checkpoint_every: int = 5,
    keep: int | None = None,
    label: str = "train",
    config: dict | None = None,
) -> Any:
    """Trains and returns the final state.

    Args:
        key: typed key of the run.
        state: pytree of everything that training changes.
        step: (key, state, batch) -> (state, metrics: dict of scalars); jitted here, its state donated.
        data: pytree of host arrays [n, ...]; the last partial batch of an epoch is left out.
        epochs, batch_size: whole numbers.
        workdir: gets log.jsonl, config.json and checkpoints/<epoch>.
        resume: go on from the last checkpoint; without it a workdir that has one is refused.
        evaluate: (state, epoch) -> dict of floats, after every epoch.
        checkpoint_every: epochs between checkpoints; the last epoch always gets one.
        keep: only the newest so many checkpoints stay; None keeps all.

    Raises:
        InputError: bad sizes, a workdir that cannot be written or holds another run.
        TrainingError: a metric is NaN or infinite.
    """
    n = len(jax.tree.leaves(data)[0])
    epochs, batch_size = integer("epochs", epochs, low=1), integer("batch size", batch_size, low=1)
    if batch_size > n:
        raise InputError(f"batch size: got {batch_size}, wanted at most the {n} examples of the data set")
    workdir = writable_folder(workdir)
    folder = workdir / "checkpoints"
    done = _begin(workdir, folder, config, resume)
    if done:
        state = checkpoint.restore(folder, done, like=state)
    compiled = jit(step, donate_argnums=1)
    for epoch in range(done, epochs):
        begin = time.monotonic()
        state, metrics = _epoch(compiled, jax.random.fold_in(key, epoch), state, data, n, batch_size,
                                where=f"{label} epoch {epoch + 1}/{epochs}", last_good=checkpoint.latest(folder))
        record = {"epoch": epoch + 1, **metrics, "seconds": round(time.monotonic() - begin, 2)}
        record |= evaluate(state, epoch + 1) if evaluate else {}
        with open(workdir / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        if (epoch + 1) % checkpoint_every == 0 or epoch + 1 == epochs:
            checkpoint.save(folder, epoch + 1, state)
            if keep:
                checkpoint.keep(folder, keep)
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


def _epoch(step, key, state, data, n, batch_size, *, where, last_good):
    """One pass over the data; the mean of each metric."""
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, 2**31 - 1), n))
    count = n // batch_size
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
        rows = order[i * batch_size : (i + 1) * batch_size]
        batch = jax.tree.map(lambda a, rows=rows: a[rows], data)
        state, metrics = step(jax.random.fold_in(key, i), state, batch)
        pending.append((i, metrics))
        if len(pending) >= LOOK_EVERY:
            look()
    look()
    return state, {name: round(total / count, 6) for name, total in sums.items()}
