"""The tests of what changed: `python tests/changed.py [BASE]` prints them for pytest, one a line.

What changed is what differs from BASE (default: HEAD), and what git does not know yet.  Its tests are

    tests that changed;  doctests of modules that changed;
    for irob/room/name.py: tests/test_room.py, tests/test_room_name*.py, and every test that imports it by name.
"""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def changed(base: str) -> list[pathlib.Path]:
    """Files that differ from the base, deleted ones left out."""
    commands = (["git", "diff", "--name-only", base], ["git", "ls-files", "--others", "--exclude-standard"])
    names = {n for c in commands for n in subprocess.check_output(c, cwd=ROOT, text=True).splitlines()}
    return [p for p in map(pathlib.Path, sorted(names)) if (ROOT / p).is_file()]


def tests_of(path: pathlib.Path, tests: dict[pathlib.Path, str]) -> set[pathlib.Path]:
    """Test files and doctests of one changed file.  tests: their texts."""
    if path in tests:
        return {path}
    if path.suffix != ".py" or path.parts[0] != "irob":
        said = {".md": ("test_readme", "test_docs"), ".ipynb": ("test_notebook",)}.get(path.suffix, ())
        return {t for t in tests if t.stem in said or (path.parts[0] == "notebooks" and t.stem == "test_notebook")}
    room, name = path.parts[1], path.stem.strip("_")
    imports = re.compile(rf"irob\.{room}\.{path.stem}\b|from irob\.{room} import [^\n]*\b{path.stem}\b")
    named = {t for t in tests if t.stem == f"test_{room}" or t.stem.startswith(f"test_{room}_{name}")}
    return {path} | named | {t for t, text in tests.items() if imports.search(text)}


def main(base: str = "HEAD") -> None:
    """Prints what there is to run."""
    tests = {p.relative_to(ROOT): p.read_text(encoding="utf-8") for p in sorted((ROOT / "tests").rglob("test_*.py"))}
    found = set().union(*(tests_of(p, tests) for p in changed(base)))
    print("\n".join(sorted(map(str, found))))


if __name__ == "__main__":
    main(*sys.argv[1:])
