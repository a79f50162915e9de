"""Digests by which stored work is recognised: of arrays, and of the code that computes."""

import ast
import functools
import hashlib
import pathlib
from typing import Any

import jax
import numpy as np

import irob

_IGNORED = {"report", "commands"}  # how numbers are shown does not change them


@functools.cache
def source() -> str:
    """A digest of the code that computes, without comments and docstrings: a wording discards no finished work."""
    root = pathlib.Path(irob.__file__).parent
    files = (f for f in sorted(root.rglob("*.py")) if f.relative_to(root).parts[0] not in _IGNORED)
    h = hashlib.sha256()
    for f in files:
        h.update(f"{f.relative_to(root).as_posix()} {code(f.read_text(encoding='utf-8'))}\0".encode())
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
