"""Training checkpoints through orbax, behind three verbs: save, latest, restore.

A checkpoint is a folder <folder>/<epoch>; orbax writes it under a temporary name and renames, so a run that is
killed while it saves leaves the previous one whole.
"""

import pathlib
import shutil

import jax
import orbax.checkpoint as ocp

from irob.core.check import InputError


def save(folder, epoch: int, state) -> None:
    """Writes the pytree `state` as checkpoint `epoch`, replacing one of that number."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(_path(folder, epoch), jax.tree.map(jax.numpy.asarray, state), force=True)


def epochs(folder) -> list[int]:
    """The complete checkpoints of a folder, ascending."""
    folder = pathlib.Path(folder)
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


def latest(folder) -> int | None:
    """The newest complete checkpoint, or None."""
    return max(epochs(folder), default=None)


def restore(folder, epoch: int, *, like):
    """The checkpoint as a pytree of the structure, shapes and types of `like`."""
    target = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jax.numpy.shape(a), jax.numpy.asarray(a).dtype), like)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.restore(_path(folder, epoch), target)
    except (ValueError, FileNotFoundError, KeyError) as e:
        reason = " ".join(str(e).split())[:200]
        where = f"checkpoint {_path(folder, epoch)}"
        raise InputError(f"{where}: cannot be restored ({reason}); was it another model's?") from None


def keep(folder, newest: int) -> None:
    """Deletes all but the `newest` checkpoints."""
    for epoch in epochs(folder)[:-newest]:
        shutil.rmtree(_path(folder, epoch))


def _path(folder, epoch: int) -> pathlib.Path:
    return pathlib.Path(folder).absolute() / str(epoch)
