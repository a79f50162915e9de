"""`python -m irob VERB [options]`, or `irob VERB [options]`: finds the verb's file in irob/commands and runs it."""

import importlib
import sys

import irob
from irob.core import registry
from irob.core.check import unknown
from irob.core.config import run

PACKAGE = "irob.commands"


def verbs() -> dict[str, str]:
    """Verb to module name; a trailing underscore keeps Python's keywords ("import") usable as verbs."""
    return {name.rstrip("_"): name for name in registry.names(PACKAGE, "main")}


def usage() -> str:
    """What there is, a line each."""
    import ast
    import pathlib

    from irob.commands.train import names as training

    lines = ["usage: python -m irob VERB [options]    (python -m irob VERB --help says more)", ""]
    for verb, name in verbs().items():
        source = pathlib.Path(__file__).with_name("commands") / f"{name}.py"
        summary = (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").split("\n")[0]
        lines.append(f"  {verb:10} {summary}")
    trained = ", ".join(training())
    return "\n".join([*lines, "", f"python -m irob train METHOD --help, with METHOD one of {trained}"])


def main() -> None:
    """Dispatches to the verb."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0 if len(sys.argv) > 1 else 2)
    if sys.argv[1] in ("-V", "--version"):
        print(f"irob {irob.__version__}")
        sys.exit(0)
    verb = sys.argv[1]
    if verb not in verbs():
        print(f"python -m irob: {unknown('verb', verb, verbs())}", file=sys.stderr)
        sys.exit(2)
    door = importlib.import_module(f"{PACKAGE}.{verbs()[verb]}")
    if "Config" not in vars(door):  # a verb with verbs of its own
        door.main(sys.argv[2:])
    else:
        run(door.main, door.Config, prog=f"python -m irob {verb}", argv=sys.argv[2:])


if __name__ == "__main__":
    main()
