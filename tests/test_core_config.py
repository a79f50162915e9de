"""A dataclass is a command line; bad input is one line and status 2."""

import dataclasses
import subprocess
import sys

import pytest

from irob.core import config
from irob.core.check import InputError, writable_folder


@dataclasses.dataclass(frozen=True)
class Config:
    """A door for tests."""

    dataset: str = config.option("mnist_gen", "data set")
    epsilon: list[float] = config.option([1.0, 2.0], "radius", unit="image units")
    step_size: float | None = config.option(None, "step")
    norm: str = config.option("l2", "norm")
    data_dir: str | None = config.option(None, "folder")
    resume: bool = config.option(False, "go on")


def test_parse():
    c = config.parse(Config, ["--epsilon", "1", "3", "--data-dir", "d", "--resume"], prog="p")
    assert c == Config(epsilon=[1.0, 3.0], data_dir="d", resume=True)
    assert config.from_json(Config, config.to_json(c)) == c


def test_spellings_that_people_use():
    """Radii over 255, norms in any case, and both ways to switch off; what is text stays as it is."""
    words = ["--epsilon", "8/255", "1e-2", "--step-size", "2/255", "--norm", "Linf", "--data-dir", "8/255"]
    c = config.parse(Config, words, prog="p")
    assert c == Config(epsilon=[8 / 255, 0.01], step_size=2 / 255, norm="linf", data_dir="8/255")
    for off in ("--no-resume", "--noresume"):
        assert not config.parse(Config, ["--resume", off], prog="p").resume


@pytest.mark.parametrize("argv", [["--epsilo", "1"], ["--epsilon", "x"], ["surplus"], ["--epsilon", "8/0"],
                                  ["--epsilon", "8/255/2"], ["--no-data-dir"]])
def test_bad_flags_end_in_one_line(argv, capsys):
    with pytest.raises(SystemExit) as e:
        config.run(lambda c: None, Config, prog="p", argv=argv)
    assert e.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("p: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("error", [
    InputError("got 1,\nwanted 2"), FileNotFoundError(2, "No such file", "x"), MemoryError("Unable to allocate 2 TiB")])
def test_bad_input_ends_in_one_line(error, capsys):
    def main(c):
        raise error

    with pytest.raises(SystemExit) as e:
        config.run(main, Config, prog="p", argv=[])
    assert e.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_defect_is_no_bad_input(tmp_path):
    """It is shown as it is; empty folders do not stay behind all the same."""
    def main(c):
        writable_folder(tmp_path / "out" / "pieces")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        config.run(main, Config, prog="p", argv=[])
    assert not any(tmp_path.iterdir())


def test_help_says_unit_and_default(capsys):
    with pytest.raises(SystemExit) as e:
        config.run(lambda c: None, Config, prog="p", argv=["--help"])
    assert e.value.code == 0
    out = capsys.readouterr().out
    assert "image units" in out
    assert "default: [1.0, 2.0]" in out


def test_version(capsys, monkeypatch):
    import irob
    from irob.__main__ import main

    monkeypatch.setattr("sys.argv", ["irob", "--version"])
    with pytest.raises(SystemExit) as e:
        main()
    assert e.value.code == 0 and capsys.readouterr().out == f"irob {irob.__version__}\n"


@pytest.mark.parametrize("argv", [[], ["reprot"], ["train", "avd"]])
def test_doors_without_a_verb(argv):
    done = subprocess.run([sys.executable, "-m", "irob", *argv], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Available" in done.stderr if argv else "usage" in done.stdout


def test_provenance_names_no_folder_of_the_machine(monkeypatch):
    from irob.core import provenance

    monkeypatch.setattr(sys, "argv", ["x", "--out", "/some/where/weights", "--data-dir", "data/mnist"])
    assert provenance.command().endswith("--out weights --data-dir data/mnist")
