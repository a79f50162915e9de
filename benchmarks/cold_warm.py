"""Seconds of every command, in a new process each time: with nothing compiled, again, and with other numbers.

The cold run has an empty folder of compiled programs, the warm one finds what the cold one compiled; neither finds
finished work.  The third has other numbers of images, steps or neighbours, which should cost no more than the warm one.
Processor seconds stand beside those of the clock: on a busy machine only they compare.
"""

import dataclasses
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

from irob.core import check
from irob.core.config import option, run
from irob.core.provenance import provenance

# Of each command: its options, and those that the third run changes.
COMMANDS: dict[str, tuple[str, str]] = {
    "import irob.bounds": ("", ""),
    "help": ("", ""),
    "attack help": ("", ""),
    "attack": ("--samples 10 --epsilon 1 3", "--samples 12 --steps 80"),
    "attack autoattack": (
        "--attack autoattack --samples 10 --epsilon 3 --steps 10 --queries 100 --examine false", "--samples 11"),
    "attack manifold": (
        "--attack manifold --samples 4 --epsilon 3 --steps 20 --examine false", "--samples 4 --steps 15"),
    "estimate": ("--samples 5 --neighbours 20 --trials 1 --classes 0 1", "--samples 6 --neighbours 30"),
    "estimate maximised": ("--protocol maximised --samples 5 --trials 1 --classes 0 1", "--samples 6"),
    "certify": ("--samples 10 --copies 100 --selection 20 --steps 20 --epsilon 0.5", "--samples 12 --steps 15"),
    "limit": ("--samples 500 --certified 0 --grid 0", "--samples 600"),
    "sample": ("--samples 20", "--samples 24"),
    "train": ("--count 256 --epochs 1 --batch-size 64 --evaluate-count 10 --final-count 0", "--count 320"),
}
METHOD = "standard"  # of `train`


@dataclasses.dataclass(frozen=True)
class Config:
    """Time every command cold, warm and with other numbers; prints Markdown and writes JSON."""

    commands: list[str] = option([], "of the table; default: all")
    out: str = option("out/benchmarks", "folder for the JSON file")


def words(name: str, more: str, out: pathlib.Path) -> list[str]:
    """The command line of one row."""
    if name.startswith("import"):
        return [sys.executable, "-c", name]
    irob, verb = [sys.executable, "-m", "irob"], name.partition(" ")[0]
    if name.endswith("help"):
        return [*irob, *name.removesuffix("help").split(), "--help"]
    where = [METHOD, "--workdir", str(out)] if verb == "train" else ["--out", str(out)]
    return [*irob, verb, *where, *more.split()]


def timed(name: str, more: str, folder: pathlib.Path, programs: pathlib.Path) -> dict[str, float]:
    """Seconds of the clock and of the processors, and the load before; the output folder is a fresh one."""
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    load, used, begin = os.getloadavg()[0], resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as out:
        done = subprocess.run(words(name, more, pathlib.Path(out) / "out"), capture_output=True, text=True,
                              env={**environment, "XDG_CACHE_HOME": str(programs)})
    if done.returncode:
        raise check.InputError(f"{name}: {done.stderr.strip()[-300:]}")
    seconds, now = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": seconds, "load": load,
            "processor": now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime}


def main(config: Config) -> None:
    """Times, prints, writes."""
    check.writable_folder(config.out)
    for name in config.commands:
        if name not in COMMANDS:
            raise check.unknown("command", name, COMMANDS)
    rows = {}
    print("| | options | cold | warm | other numbers | processor: cold | warm | other |\n|---|---|" + "---:|" * 6)
    with tempfile.TemporaryDirectory() as folder:
        for name in config.commands or COMMANDS:
            given, other = COMMANDS[name]
            programs = pathlib.Path(tempfile.mkdtemp(dir=folder))
            again = f"{given} {other}"  # of an option given twice the last counts
            runs = [timed(name, more, pathlib.Path(folder), programs) for more in (given, given, again)]
            rows[name] = {"options": given, "other": other, **dict(zip(("cold", "warm", "changed"), runs))}
            cells = [f"{run[key]:.1f}" for key in ("seconds", "processor") for run in runs]
            print(f"| `{name}` | {given and f'`{given}`'} | {' | '.join(cells)} |", flush=True)
    about = provenance(seed=None, load_average=list(os.getloadavg()))
    record = {"benchmark": "cold_warm", "rows": rows, "provenance": about}
    path = pathlib.Path(config.out) / "cold_warm.json"
    check.write_atomically(path, json.dumps(record, indent=2) + "\n")
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    run(main, Config, prog="python -m benchmarks.cold_warm")
