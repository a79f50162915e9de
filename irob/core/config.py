"""Doors: a frozen dataclass is the command line, its docstring the help, its JSON the record.

    @dataclasses.dataclass(frozen=True)
    class Config:
        \"\"\"What this command does.\"\"\"
        epsilon: float = option(3.0, "radius of the ball", unit="image units")

    def main(config: Config) -> None: ...

    if __name__ == "__main__":
        run(main, Config, prog="python -m train.adv")

Bad input ends in one line on stderr and exit status 2, whoever finds it: the parser or the work itself.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import simple_parsing
from simple_parsing.wrappers.field_wrapper import DashVariant

from irob.core import cache
from irob.core.check import InputError, ratio, unknown, withdraw

C = TypeVar("C")
NO_CACHE = "--no-cache"


def option(default: Any, help: str, *, unit: str = "") -> Any:
    """A command-line flag: its default, what it means, and its unit; a list default takes several values."""
    text = f"{help} ({unit})" if unit else help
    if isinstance(default, (list, dict)):
        return simple_parsing.field(default_factory=lambda: type(default)(default), help=text)
    return simple_parsing.field(default=default, help=text)


class _Parser(simple_parsing.ArgumentParser):
    def __init__(self, **options):
        super().__init__(**options)
        self.register("type", float, ratio)  # 8/255, for whatever is a number

    def error(self, message: str) -> NoReturn:
        """One line instead of the usage block; --help has the rest."""
        raise InputError(message)


def parse(config_class: type[Any], argv: Sequence[str], *, prog: str) -> Any:
    """The config that `argv` asks for.  Raises `InputError` for unknown flags or values of the wrong type."""
    parser = _Parser(
        prog=prog,
        description=config_class.__doc__,
        epilog=f"{NO_CACHE}: compile anew, instead of taking the programs that an earlier run compiled",
        add_option_string_dash_variants=DashVariant.DASH,
        allow_abbrev=False,
    )
    parser.add_arguments(config_class, dest="config")
    namespace, rest = parser.parse_known_args([_spelled(word, config_class) for word in _apart(argv, config_class)])
    if rest:
        flags = ["--" + f.name.replace("_", "-") for f in dataclasses.fields(config_class)]
        raise unknown("option", rest[0], flags)
    given = namespace.config
    return dataclasses.replace(given, norm=given.norm.lower()) if "norm" in vars(given) else given


def _spelled(word: str, config_class: type[Any]) -> str:
    """--no-resume as the parser knows it, --noresume; any other word as it is."""
    switches = [f.name.replace("_", "-") for f in dataclasses.fields(config_class) if f.type in (bool, bool | None)]
    return f"--no{word[5:]}" if word.startswith("--no-") and word[5:] in switches else word


def _apart(argv: Sequence[str], config_class: type[Any]) -> list[str]:
    """The words of options that take several values, which may be given by spaces or commas; a path stays whole.

    >>> _apart(["--only", "a,b", "c"], dataclasses.make_dataclass("C", [("only", list[str], option([], ""))]))
    ['--only', 'a', 'b', 'c']
    """
    several = {"--" + f.name.replace("_", "-") for f in dataclasses.fields(config_class)
               if f.default_factory is not dataclasses.MISSING and isinstance(f.default_factory(), list)}
    apart: list[str] = []
    flag = ""
    for word in argv:
        if word.startswith("--"):
            flag, equals, word = word.partition("=")
            apart.append(flag)
            if not equals:
                continue
            if flag not in several:
                apart[-1] += f"={word}"
                continue
        if flag in several and "," in word and not os.path.exists(word):
            apart += [part for part in word.split(",") if part]
        else:
            apart.append(word)
    return apart


def run(main: Callable[[C], None], config_class: type[C], *, prog: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Parses, calls, and exits: 0 when done, 2 with one line on stderr for bad input, 130 when interrupted.

    `--no-cache`, which every command takes, compiles anew instead of taking programs that an earlier run compiled.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        config = parse(config_class, [word for word in given if word != NO_CACHE], prog=prog)
        if NO_CACHE not in given:
            cache.keep()
        main(config)
    except (InputError, OSError, MemoryError) as e:
        large = f"too large for the memory: {e}; take fewer images, or limit it with --memory"
        print(f"{prog}: {' '.join((large if isinstance(e, MemoryError) else str(e)).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; the same command with --resume goes on", file=sys.stderr)
        sys.exit(130)
    finally:
        withdraw()
    sys.exit(0)


def shared(config: Any, kind: type[C], **more: Any) -> C:
    """A value of `kind` from the flags of the same names, and from `more` in the place of others.

    >>> one, two = (dataclasses.make_dataclass(name, names) for name, names in (("One", "abc"), ("Two", "ab")))
    >>> shared(one(1, 2, 3), two, b=4)
    Two(a=1, b=4)
    """
    names = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: v for k, v in vars(config).items() if k in names} | more)


def to_json(config: Any) -> str:
    """The config as JSON, for provenance and resume."""
    return json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True)


def from_json(config_class: type[C], text: str) -> C:
    """The inverse of `to_json`."""
    return config_class(**json.loads(text))
