"""What the documentation says is true: examples run, commands parse, names and links are there."""

import ast
import importlib
import json
import pathlib
import re
import shlex
import types

import pytest

from irob import attacks, certify
from irob.__main__ import PACKAGE, verbs
from irob.commands import import_, train
from irob.core import config
from irob.training import settings

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md")))]
pytestmark = pytest.mark.skipif(not (ROOT / "docs/first-steps.md").exists(), reason="an installed package has no docs")


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text(page))


def commands(page: str) -> list[str]:
    """Every command line of a page, in blocks and in the middle of a sentence."""
    lines = [line.strip() for block in blocks(page, "bash") for line in block.splitlines()]
    return [c for c in [*lines, *re.findall(r"`([^`\n]+)`", text(page))]
            if re.match(r"(python -m )?irob \w|python -m (train|benchmarks)\.\w|make \w", c)]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")])
def test_examples_run(page, monkeypatch):
    """The blocks of a page, one after the other, as a reader would type them."""
    monkeypatch.chdir(ROOT)
    names = {"__name__": "__main__"}
    for i, block in enumerate(blocks(page, "python")):
        if "import torch" in block:
            pytest.importorskip("torch")
        exec(compile(block, f"{page}, block {i + 1}", "exec"), names)


def parse(command: str) -> None:
    """Raises where a command has a name or a flag that is not there; capitals stand for a name."""
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        targets = re.findall(r"(?m)^([a-z]+):", text("Makefile"))
        assert {w for w in words[1:] if "=" not in w} <= set(targets), command
        return
    words = words[2:] if words[0] == "python" else words
    if words[0].startswith("benchmarks."):
        assert words[0] == "benchmarks.NAME" or (ROOT / f"{words[0].replace('.', '/')}.py").exists(), command
        return
    if words[0].startswith("train."):
        words = ["irob", "train", words[0].removeprefix("train."), *words[1:]]
    verb, rest = words[1], words[2:]
    if verb == "VERB" or rest[:1] == ["METHOD"]:
        return
    assert verb in verbs(), command
    if verb == "train":
        if ":" in rest[0]:
            return
        kind, rest = train.door(rest[0])[0], rest[1:]
    elif verb == "import":
        kind, rest = import_.Source, rest[1:]
    else:
        kind = importlib.import_module(f"{PACKAGE}.{verbs()[verb]}").Config
    config.parse(kind, [w for w in rest if w not in ("--help", config.NO_CACHE)], prog=command)


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)])
def test_commands_parse(page):
    for command in commands(page):
        parse(command)


@pytest.mark.parametrize("page", PAGES)
def test_names_are_there(page):
    """Every `irob.room.name` of a page can be imported, every `folder/file` is there."""
    for name in set(re.findall(r"`(irob(?:\.\w+)+)", text(page))):
        found: object = importlib.import_module("irob")
        for part in name.split(".")[1:]:
            if isinstance(found, types.ModuleType) and not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)
    for file in re.findall(r"`((?:tests|notebooks|irob|benchmarks)/[\w/]+\.\w+)`", text(page)):
        assert (ROOT / file).exists(), file


@pytest.mark.parametrize("page", PAGES)
def test_links_are_there(page):
    for link in re.findall(r"\]\(([^)#\s]+)", text(page)):
        assert link.startswith("https://") or ((ROOT / page).parent / link).exists(), link


@pytest.mark.parametrize(("page", "names"), [
    ("attacks", attacks.names()), ("certificates", certify.names()), ("training", settings.names())])
def test_a_guide_names_all_there_are(page, names):
    """The first column of the guide's table is the registry."""
    assert set(names) == set(re.findall(r"(?m)^\| `(\w+)` \|", text(f"docs/{page}.md")))


def test_every_figure_and_result_says_how_it_was_made():
    """Result files hold the command that made them, which is the one on the page."""
    made = re.findall(r"(?m)^\| (.*?) \| (.*) \|$", text("docs/figures.md"))[1:]
    by = {name: how for names, how in made for name in re.findall(r"`([\w.]+)`", names)}
    assert set(by) == {p.name for p in (ROOT / "docs").iterdir() if p.suffix in (".png", ".json", ".svg")}
    for name in by:
        if name.endswith(".json"):
            command = json.loads(text(f"docs/{name}"))["provenance"]["command"]
            assert by[name].strip("`").split(" --out")[0] == command.split(" --out")[0]


def test_every_flag_stands_in_the_reference():
    """The page is made from the commands, so a new flag is on it."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = hooks.on_page_markdown(text("docs/commands.md"))
    plain = [v for v in verbs() if v not in ("train", "import")]
    for name in (*plain, *(f"train {method}" for method in train.names())):
        assert f"\n## `python -m irob {name}`\n" in page
    doors = [importlib.import_module(f"{PACKAGE}.{verbs()[v]}").Config for v in plain]
    for kind in (import_.Source, *doors, *(train.door(name)[0] for name in train.names())):
        assert all(f"| `{flag}` |" in page for flag, _, _ in hooks.flags(kind))
    assert "generated:" not in page and "](docs/" not in hooks.on_page_markdown("<!-- generated: readme -->")


def function(file: str, name: str) -> ast.FunctionDef:
    """The function of a file, or a method of its class."""
    node: ast.AST = ast.parse(text(file))
    for part in name.split("."):
        node = next(n for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part)
    return node


def test_the_way_of_a_number_is_as_written():
    """Every function of the page is there and names the next one; from flag to page there are at most eight."""
    steps = re.findall(r"(?m)^\| (\d+) \| `([\w.]+)` \| `(irob/[\w/]+\.py)` \| ?(\d*) \|", text("docs/architecture.md"))
    way = {n: (function(file, name), name) for n, name, file, _ in steps}
    assert [*way] == [str(i + 1) for i in range(len(steps))]
    for n, _, _, by in steps[1:]:
        named = {getattr(v, "id", getattr(v, "attr", "")) for v in ast.walk(way[by][0])}
        assert way[n][1].rpartition(".")[2] in named, f"step {n}: not called by step {by}"
    page = text("docs/architecture.md").partition("Beside this way")[0]
    assert len(re.findall(r"(?m)^\| \d+ \|", page)) <= 8


def test_the_readme_is_short():
    assert len(text("README.md").splitlines()) <= 150
