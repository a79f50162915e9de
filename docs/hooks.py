"""What is not written by hand: flags from the commands' own dataclasses, one page of the API for each room, README.md
and CONTRIBUTING.md.  A page asks for its part by a comment: <!-- generated: NAME -->.
"""

import dataclasses
import functools
import importlib
import inspect
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
ROOMS = ("bounds", "lipschitz", "generators", "classifiers", "data", "attacks", "certify", "training")
REGISTERED = {"generators": "", "classifiers": "", "data": "", "attacks": "", "certify": "", "training": ".methods"}
CORE = ("threat", "types", "promises", "evidence", "definitions", "layers", "keys", "config")


def api() -> dict[str, str]:
    """The pages of the API: path to text, which mkdocstrings fills in."""
    pages = {room: [f"::: irob.{room}", *hidden(room)] for room in ROOMS}
    for room, folder in REGISTERED.items():
        pages[room] += registered(f"irob.{room}{folder}")
    pages["core"] = [f"::: irob.core.{name}" for name in CORE]
    return {f"api/{name}.md": "\n\n".join([f"# {name}", *blocks]) + "\n" for name, blocks in pages.items()}


def hidden(room: str) -> list[str]:
    """Public functions with the name of their file, which a reader of files alone takes for the file."""
    found = vars(importlib.import_module(f"irob.{room}"))
    functions = {n: found[n] for n in found.get("__all__", ()) if inspect.isfunction(found[n])}
    names = [n for n, f in functions.items() if f.__module__ == f"irob.{room}.{n}"]
    return [f"::: irob.{room}.{name}.{name}\n    options: {{heading_level: 3, heading: irob.{room}.{name}}}"
            for name in names]


def registered(package: str) -> list[str]:
    """What has a name in a package, with the options of each."""
    from irob.core import registry

    return ["## Registered names", *(f"::: {package}.{name}\n    options: {{heading_level: 3, members: [build], "
                                     f"heading: {name}}}" for name in registry.names(package))]


def file(name: str) -> str:
    """A file beside the folder of pages, its links turned to pages."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return text.replace("](docs/", "](").replace("](CONTRIBUTING.md)", "](contributing.md)")


def commands() -> str:
    """Every command with its flags, defaults and units."""
    from irob.__main__ import PACKAGE, verbs
    from irob.commands import import_, train
    from irob.training.settings import Settings

    parts = []
    for verb, name in verbs().items():
        found = vars(importlib.import_module(f"{PACKAGE}.{name}"))
        if "Config" in found:
            parts += section(f"irob {verb}", found["Config"])
    parts += section("irob import LAYOUT", import_.Source)
    made = {method: train.door(method)[0] for method in train.names()}
    methods = [c for c in made.values() if issubclass(c, Settings)]
    shared = [row for row in flags(methods[0]) if all(row in flags(c) for c in methods)]
    parts += ["## `python -m irob train METHOD`", "Flags that all methods of training a classifier share:"]
    parts += [table(shared)]
    parts += [block for method, config in made.items() for block in section(f"irob train {method}", config, shared)]
    return "\n\n".join(parts)


def section(command: str, config: type, known: Iterable[tuple[str, str, str]] = ()) -> list[str]:
    """Heading, what the command does, and its flags but for those that are known."""
    from irob.training.settings import Settings

    rest = "Beside the flags of every method:" if issubclass(config, Settings) else ""
    rows = [row for row in flags(config) if row not in known or not rest]
    return [f"## `python -m {command}`", inspect.cleandoc(config.__doc__ or ""), rest if rows else "", table(rows)]


def flags(config: type) -> list[tuple[str, str, str]]:
    """(flag, default, meaning) of every field of a command's dataclass."""
    return [(f"--{f.name.replace('_', '-')}", shown(f), f.metadata["custom_args"]["help"].replace("%%", "%"))
            for f in dataclasses.fields(config)]


def shown(field: dataclasses.Field) -> str:
    """A default as one would type it; nothing where the meaning says what it is."""
    value: Any = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def table(rows: list[tuple[str, str, str]]) -> str:
    """A Markdown table of flags, or nothing."""
    if not rows:
        return ""
    lines = [f"| `{flag}` | {f'`{default}`' if default else ''} | {said.replace('|', chr(92) + '|')} |"
             for flag, default, said in rows]
    return "\n".join(["| flag | default | meaning |", "|---|---|---|", *lines])


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "readme": functools.partial(file, "README.md"),
    "contributing": functools.partial(file, "CONTRIBUTING.md"),
}


def on_files(files, config):
    """Adds the pages of the API."""
    from mkdocs.structure.files import File

    for path, content in api().items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, **_) -> str:
    """Puts each generated part where its comment stands."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda found: PARTS[found[1]](), markdown)
