"""The notebook: its two halves agree, it stores no output, and it runs from top to bottom."""

import pathlib
import re

import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"


def cells(name: str):
    return jupytext.read(FOLDER / name).cells


NAMES = ("quickstart", "evaluate_your_model")


@pytest.mark.parametrize("name", NAMES)
def test_both_halves_agree(name):
    """`jupytext --sync notebooks/NAME.md` makes them agree."""
    pairs = [[(c.cell_type, c.source) for c in cells(f"{name}.{half}")] for half in ("md", "ipynb")]
    assert pairs[0] == pairs[1]


@pytest.mark.parametrize("name", NAMES)
def test_no_output_is_stored(name):
    for cell in cells(f"{name}.ipynb"):
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None


def test_it_runs():
    notebook = jupytext.read(FOLDER / "quickstart.ipynb")
    where = {"metadata": {"path": str(FOLDER)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    code = [c for c in notebook.cells if c.cell_type == "code"]
    text = "".join(o.get("text", "") for c in code for o in c.outputs)
    figures = sum("image/png" in o.get("data", {}) for c in code for o in c.outputs)
    assert figures == 3 and "certified: False" in text
    assert "constant: [2. 2. 2.] limit: 0.7405" in text  # isometric: the closed form, Remark 4.5
    limits = [float(v) for v in re.findall(r"robust accuracy at most ([\d.]+)", text)]
    attacked = {name: [float(v) for v in values.split()] for name, values in re.findall(
        r"^(unconstrained|in-distribution) +\[([^\]]*)\]", text, flags=re.M)}
    assert len(limits) == 3 and sorted(limits, reverse=True) == limits
    assert len(attacked) == 2 and all(len(values) == 3 for values in attacked.values())
    nearest = attacked["in-distribution"]  # one run, read at three radii
    assert sorted(nearest, reverse=True) == nearest
    assert attacked["unconstrained"][-1] < min(attacked["unconstrained"][0], limits[-1])
