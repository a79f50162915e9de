"""Digests by which stored work is recognised: of arrays, and of the code that computes."""

import ast
import contextlib
import functools
import hashlib
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

import irob
from irob.core import cache, check

_IGNORED = {"report", "commands"}  # how numbers are shown does not change them; sections of a report measure, too


@functools.cache
def source() -> str:
    """A digest of the code that computes, without comments and docstrings: a wording discards no finished work.

    Parsing takes most of a second, so the digest is kept beside the compiled programs, under that of the files as they
    are.
    """
    root = pathlib.Path(irob.__file__).parent
    files = (f for f in sorted(root.rglob("*.py"))
             if f.relative_to(root).parts[0] not in _IGNORED or "sections" in f.parts)
    texts = {f.relative_to(root).as_posix(): f.read_text(encoding="utf-8") for f in files}
    known = cache.folder() / f"source-{_digest([sys.version, *(part for item in texts.items() for part in item)])}"
    with contextlib.suppress(OSError):
        return known.read_text(encoding="utf-8")
    found = _digest(f"{name} {code(text)}" for name, text in texts.items())
    if known.parent.is_dir():
        with contextlib.suppress(OSError):
            check.write_atomically(known, found)
    return found


def _digest(texts: Iterable[str]) -> str:
    h = hashlib.sha256()
    for text in texts:
        h.update(f"{text}\0".encode())
    return h.hexdigest()


def code(text: str) -> str:
    """What Python text does, as text: equal for two texts that differ in comments, docstrings or layout only.

    >>> code("x = 1  # one") == code("x=1") != code("x = 2")
    True
    """
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree)


def fingerprint(tree: Any) -> str:
    """A digest of the arrays of a pytree and of their places in it (a model, images).

    >>> fingerprint([np.zeros(2)]) == fingerprint([np.zeros(2)]) != fingerprint([np.ones(2)])
    True
    """
    h = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        h.update(f"{jax.tree_util.keystr(path)}{array.dtype}{array.shape}".encode())
        h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
