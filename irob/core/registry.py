"""Names to files: adding a method is adding one file that exports `build(...)`.

The file's name is the registry's and the command line's name.  Files are recognised by their text,
so that listing what is available imports none of them.
"""

import functools
import importlib
import importlib.util
import pathlib
import types
from collections.abc import Callable

from irob.core.check import InputError, unknown


@functools.cache
def names(package: str, function: str = "build") -> tuple[str, ...]:
    """The modules of a package that define `function` at top level, sorted."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [f for folder in folders for f in pathlib.Path(folder).glob("*.py")]
    public = [f for f in files if not f.stem.startswith("_")]
    return tuple(sorted(f.stem for f in public if f"\ndef {function}(" in f.read_text(encoding="utf-8")))


def module(package: str, name: str, *, kind: str, function: str = "build") -> types.ModuleType:
    """The module `name` of the package; raises `InputError` with the nearest name if there is none."""
    available = names(package, function)
    if name not in available:
        raise unknown(kind, name, available)
    return importlib.import_module(f"{package}.{name}")


def factory(package: str, name: str, *, kind: str, function: str = "build") -> Callable:
    """The function of a registered name, or of "package.module:function", which may stand anywhere.

    Raises:
        InputError: an unknown name, a module that cannot be imported, or that has no such function.

    >>> factory("irob.attacks", "irob.attacks.pgd:build", kind="attack").__name__
    'build'
    """
    where, colon, wanted = name.partition(":")
    if not colon:
        return vars(module(package, name, kind=kind, function=function))[function]
    try:
        found = importlib.import_module(where)
    except ImportError as e:
        raise InputError(f"{kind} {name!r}: module {where!r} cannot be imported ({e})") from None
    if not callable(vars(found).get(wanted)):
        raise InputError(f"{kind} {name!r}: module {where!r} has no function {wanted!r}")
    return vars(found)[wanted]


def room(name: str) -> types.ModuleType:
    """A room by name, for the few places where one room's default comes from another (a data set's generator)."""
    return importlib.import_module(f"irob.{name}")
