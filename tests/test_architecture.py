"""The drawing of the house: imports point down only, and rooms never meet except through core."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
ROOMS = {"bounds", "lipschitz", "generators", "classifiers", "data", "attacks", "certify", "checkpoint"}
LEVEL = {"math": 0, "core": 1, **dict.fromkeys(ROOMS, 2), "report": 2, "training": 3, "evaluation": 3,
         "report.sections": 4, "commands": 5}
LAZY = {"torch", "tensorflow", "tensorflow_datasets", "matplotlib"}
FILES = sorted((ROOT / "irob").rglob("*.py"))


def room(parts) -> str:
    """The room of a file or a dotted name within irob; sections of a report stand above what they measure with."""
    return "report.sections" if tuple(parts[:2]) == ("report", "sections") else parts[0]


def imports(tree: ast.AST, *, top_level_only: bool = False):
    """Names of the modules that a file imports."""
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            yield node.module
            yield from (f"{node.module}.{a.name}" for a in node.names)


def violations(file: pathlib.Path) -> list[str]:
    """What a file imports against the drawing."""
    parts = file.relative_to(ROOT / "irob").with_suffix("").parts
    tree = ast.parse(file.read_text(encoding="utf-8"))
    bad = [f"{m} at top level" for m in imports(tree, top_level_only=True) if m.split(".")[0] in LAZY]
    if len(parts) == 1:  # irob/__init__ and irob/__main__ stand above the house
        return bad
    here = room(parts)
    for name in imports(tree):
        target = name.split(".")
        if target[0] == "train":
            bad.append(name)
        if target[0] != "irob" or len(target) < 2 or target[1] not in LEVEL or room(target[1:]) == here:
            continue
        there = room(target[1:])
        if LEVEL[there] > LEVEL[here] or (LEVEL[there] == LEVEL[here] == 2):
            bad.append(name)
        if here == "report" and LEVEL[there] >= 2:
            bad.append(name)
    return bad


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_imports_point_down(file):
    assert violations(file) == []


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_no_file_is_long(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 500


FOREIGN = {  # what values of libraries and of users may have, asked for by name: nobody here can declare it
    "apply", "__name__", "__qualname__", "__spec__",  # a user's model: a module or a function
    "reason",  # an error of the network
    "dtype", "items", "jax_default_matmul_precision", "jax_compilation_cache_dir",  # arrays, mappings, settings of JAX
    "shape",
    "jaxpr", "consts",  # programs of JAX
}
def short(file: pathlib.Path) -> str:
    """A file as the lists of this test name it."""
    return file.relative_to(ROOT / "irob").as_posix()


def looked_for(tree: ast.AST) -> list[str]:
    """Calls of hasattr and getattr that ask for what irob's own values should declare."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
             and n.func.id in ("hasattr", "getattr")]
    return [ast.unparse(c) for c in calls if not (
        len(c.args) > 1 and isinstance(c.args[1], ast.Constant) and c.args[1].value in FOREIGN)]


def test_promises_are_declared():
    """No value of irob's own is asked whether it has a member: it says so, or its class does."""
    found = {short(f): looked_for(ast.parse(f.read_text(encoding="utf-8"))) for f in FILES}
    assert {f: calls for f, calls in found.items() if calls} == {}
    assert looked_for(ast.parse("hasattr(attack, 'run')")) and not looked_for(ast.parse("hasattr(m, 'apply')"))


def test_few_files_know_what_kind_of_threat_there_is():
    """Code asks a threat and names no kind of it, so that a new kind needs no change but where it is declared."""
    assert len([f for f in FILES if re.search(r"\bLpBall\b", f.read_text(encoding="utf-8"))]) <= 12


def long_signatures(tree: ast.AST) -> list[str]:
    """Functions of more than eight parameters; `build`, whose keywords are a user's options, may have them."""
    found = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name != "build"]
    return [n.name for n in found if len(n.args.posonlyargs) + len(n.args.args) + len(n.args.kwonlyargs) > 8]


def test_no_function_takes_more_than_eight_parameters():
    """What belongs together is a frozen value with a name."""
    found = {short(f): long_signatures(ast.parse(f.read_text(encoding="utf-8"))) for f in FILES}
    assert {f: names for f, names in found.items() if names} == {}
    assert long_signatures(ast.parse("def f(a, b, c, d, *, e, g, h, i, j): pass")) == ["f"]


BESIDE = {"attacks/program.py", "attacks/referee.py", "attacks/resume.py", "attacks/warnings.py"}


def test_registered_folders_hold_registered_names():
    """Engines stand one folder down, so that a listing is what a user can ask for."""
    other = {short(f) for folder in ("attacks", "certify", "training/methods")
             for f in (ROOT / "irob" / folder).glob("[!_]*.py") if "\ndef build(" not in f.read_text(encoding="utf-8")}
    assert other == BESIDE


def bare_rows(tree: ast.AST) -> list[str]:
    """Calls of `Row`, which only the kinds of irob.core.rows make."""
    return [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Call)
            and (getattr(n.func, "id", None) == "Row" or getattr(n.func, "attr", None) == "Row")]


def test_every_row_is_made_by_its_kind():
    files = [f for f in (*FILES, *(ROOT / "tests").rglob("*.py")) if f != ROOT / "irob/core/rows.py"]
    assert {f.name: found for f in files if (found := bare_rows(ast.parse(f.read_text(encoding="utf-8"))))} == {}
    assert bare_rows(ast.parse("Row('d')")) and bare_rows(ast.parse("rows.Row('d')"))


def test_the_law_sees_a_violation(tmp_path):
    """A law that nothing can break guards nothing."""
    bad = ROOT / "irob" / "attacks" / "_probe_of_the_law.py"
    tree = "from irob.bounds import fawzi\nimport torch\nfrom irob.report import html\n"
    try:
        bad.write_text(tree)
        wanted = ["torch at top level", "irob.bounds", "irob.bounds.fawzi", "irob.report", "irob.report.html"]
        assert violations(bad) == wanted
    finally:
        bad.unlink()


def test_bounds_are_light():
    """`import irob.bounds` brings neither JAX nor flax nor data sets nor figures: it takes less than half a second."""
    heavy = ("jax", "scipy.spatial", "scipy.linalg", "flax", "optax", "orbax", "tensorflow_datasets", "matplotlib",
             "torch")
    code = f"import sys, irob.bounds; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert out.stdout.strip() == "[]"
