"""Compiled programs kept on disk, so that the second run of a command does not compile again.

The doors switch it on (`--no-cache` leaves it off); in Python it is one call, before anything is compiled:

    irob.core.cache.keep()

A program is found again for the same computation, compiler options and version of jaxlib.  What was compiled for one
kind of processor may not run on another, so each kind has a folder of its own.

JAX would bound the folder's size behind one lock, taken at every look: many processes wait for each other there, warn
that the lock timed out and compile after all.  So the size is bounded here instead, once for each process and without
a lock: a file that another process reads while it is deleted stays readable, and one that is gone is compiled again.
"""

import contextlib
import hashlib
import os
import pathlib
import platform

LIMIT = 2 * 1024**3  # bytes; what was not used for longest goes first
FEWEST_SECONDS = 0.01  # programs that compile faster than this are not worth a file


def folder() -> pathlib.Path:
    """Where this user's compiled programs lie: $XDG_CACHE_HOME/irob or ~/.cache/irob, then the kind of processor."""
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "irob" / f"compiled-{_processor()}"


def keep(where: str | os.PathLike | None = None, *, limit: int = LIMIT) -> pathlib.Path | None:
    """Keeps compiled programs in a folder from now on, and takes those that are there.

    Args:
        where: the folder; by default `folder()`.
        limit: bytes that it may grow to.

    Returns:
        The folder in use: another one if JAX was already told of it ($JAX_COMPILATION_CACHE_DIR), None if it cannot
        be written, in which case nothing is kept.
    """
    import jax  # here, so that `--help` and errors of the command line need not wait for it

    already = getattr(jax.config, "jax_compilation_cache_dir", None)
    if already:
        return pathlib.Path(already)
    chosen = pathlib.Path(where) if where is not None else folder()
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(chosen, os.W_OK):
        return None
    prune(chosen, limit)
    jax.config.update("jax_compilation_cache_max_size", -1)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", FEWEST_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    jax.config.update("jax_compilation_cache_dir", str(chosen))
    return chosen


def prune(chosen: pathlib.Path, limit: int) -> None:
    """Deletes the files of a folder that were not used for longest, until the rest fits in `limit` bytes."""
    found = []
    for entry in os.scandir(chosen):
        with contextlib.suppress(OSError):  # another process may have deleted it
            about = entry.stat()
            found.append((max(about.st_atime, about.st_mtime), about.st_size, entry.path))
    left = limit
    for _, size, path in sorted(found, reverse=True):
        left -= size
        if left < 0:
            with contextlib.suppress(OSError):
                os.unlink(path)


def _processor() -> str:
    """A digest of the processor's instruction sets, as Linux lists them; elsewhere of its name."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        known = next(line for line in lines if line.lower().startswith(("flags", "features")))
    except (OSError, StopIteration):
        known = platform.processor()
    return hashlib.sha256(f"{platform.machine()} {known}".encode()).hexdigest()[:12]
