"""Names to files: adding a method is adding one file that exports `build(...)`.

The file's name is the registry's and the command line's name.  Files are recognised by their text,
so that listing what is available imports none of them.

What stands outside irob has a name too: package.module:function, or path/to/file.py:function.  Whatever goes wrong in
a user's code becomes one line.
"""

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import os
import pathlib
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

from irob.core.check import InputError, one_line, unknown


@functools.cache
def names(package: str, function: str = "build") -> tuple[str, ...]:
    """The modules of a package that define `function` at top level, sorted."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    files = [f for folder in folders for f in pathlib.Path(folder).glob("[!_]*.py")]
    return tuple(sorted(f.stem for f in files if f"\ndef {function}(" in f.read_text(encoding="utf-8")))


def module(package: str, name: str, *, kind: str, function: str = "build") -> types.ModuleType:
    """The module `name` of the package; raises `InputError` with the nearest name if there is none."""
    available = names(package, function)
    if name not in available:
        raise unknown(kind, name, available)
    return importlib.import_module(f"{package}.{name}")


def factory(package: str, name: str, *, kind: str, function: str = "build") -> Callable:
    """The function of a registered name, or of package.module:function or file.py:function, which stand anywhere.

    Raises:
        InputError: an unknown name, a module that is not there or fails, or that has no such function.

    >>> factory("irob.attacks", "irob.attacks.pgd:build", kind="attack").__name__
    'build'
    """
    if not is_outside(name):
        return vars(module(package, name, kind=kind, function=function))[function]
    return outside(name, kind=kind)


def failing(name: str, *, kind: str) -> contextlib.AbstractContextManager:
    """Where the function of a name is called: what a user's own raises becomes one line, irob's own errors stay."""
    return said(f"{kind} {name!r} fails") if is_outside(name) else contextlib.nullcontext()


def made(name: str, *, kind: str) -> Any:
    """What the function that package.module:function or file.py:function names gives, called without arguments.

    Raises:
        InputError: as `outside`; a function that fails.
    """
    with failing(name, kind=kind):
        return outside(name, kind=kind)()


def is_outside(name: str) -> bool:
    """Whether a name is that of a function outside irob, or of a model of RobustBench, not a registered one.

    >>> is_outside("my_models.cnn:make"), is_outside("models/cnn.py:make"), is_outside("mnist_gen_adv@4")
    (True, True, False)
    """
    if name.startswith("robustbench:"):
        return True
    return bool(re.search(r"[^:/\\]:[A-Za-z_][\w.]*$", name)) and not pathlib.Path(name).is_dir()


def outside(name: str, *, kind: str) -> Callable:
    """The function that package.module:function or path/to/file.py:function names.

    Raises:
        InputError: a module that is not there or fails, a missing function, or something else of that name.
    """
    where, _, wanted = name.rpartition(":")
    found: object = _module(where, f"{kind} {name!r}")
    for part in wanted.split("."):
        inside = vars(found)
        if part not in inside:
            what = f"{kind} {name!r}: {where} has no function"
            raise unknown(what, wanted, [k for k, v in inside.items() if callable(v)])
        found = inside[part]
    if not callable(found):
        raise InputError(f"{kind} {name!r}: got {type(found).__name__}, wanted a function")
    return found


def source(name: str, *, kind: str) -> str:
    """A digest of the file where a function outside irob stands, "" for a registered name; for the identity of work."""
    if not is_outside(name):
        return ""
    found, where = outside(name, kind=kind), name.rpartition(":")[0]
    defined = isinstance(found, types.FunctionType | type)  # a value knows only where its class is defined
    made = sys.modules[found.__module__] if defined else _module(where, f"{kind} {name!r}")
    file = vars(made).get("__file__")
    return hashlib.sha256(pathlib.Path(file).read_bytes()).hexdigest() if file else where


@contextlib.contextmanager
def said(what: str) -> Iterator[None]:
    """Any error of the user's code as one line."""
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as e:
        raise InputError(f"{what}: {one_line(e)}") from e


def _module(where: str, what: str) -> types.ModuleType:
    """The module of a dotted name, the current directory included, or of a file, its own folder included."""
    if where.endswith(".py") or "/" in where or os.sep in where:
        path = pathlib.Path(where)
        if not path.is_file():
            raise InputError(f"{what}: there is no file {where!r}")
        # The text is in the name, so that a file is run once, and again when it has changed.
        told = str(path.resolve()).encode() + path.read_bytes()
        name = f"_irob_user_{hashlib.sha256(told).hexdigest()[:12]}"
        if name in sys.modules:
            return sys.modules[name]
        description = importlib.util.spec_from_file_location(name, path)
        if description is None or description.loader is None:
            raise InputError(f"{what}: {where!r} is no Python file")
        made = importlib.util.module_from_spec(description)
        _importable(str(path.resolve().parent))
        with said(f"{what}: {where} fails"):
            sys.modules[name] = made  # dataclasses and pickles look their module up
            try:
                description.loader.exec_module(made)
            except BaseException:
                del sys.modules[name]
                raise
        return made
    _importable(os.getcwd())
    with said(f"{what}: module {where} cannot be imported"):
        return importlib.import_module(where)


def _importable(folder: str) -> None:
    """The folder comes first, and stays: a function may import more when it is called."""
    if folder not in sys.path:
        sys.path.insert(0, folder)


def room(name: str) -> types.ModuleType:
    """A room by name, for the few places where one room's default comes from another (a data set's generator)."""
    return importlib.import_module(f"irob.{name}")
