"""The notebooks: their halves agree, outputs are stored, they run from top to bottom and install irob, keeping jax."""

import importlib.metadata
import importlib.util
import pathlib
import re
import subprocess
import types

import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

FOLDER = pathlib.Path(__file__).parents[1] / "notebooks"
NAMES = ("quickstart", "evaluate_your_model")
SMALL = {  # in the place of the sizes of the second cell
    "quickstart": "images, codes_per_class, neighbours, attacked, pgd_steps, latent_steps = 40, 2, 8, 8, 3, 4",
    "evaluate_your_model": "training_images, attacked = 500, 8\nautoattack_options = {'steps': 2, 'queries': 5}\n"
                           "manifold_options = {'steps': 2, 'walks': 1}",
}


def cells(name: str):
    return jupytext.read(FOLDER / name).cells


def code(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


@pytest.mark.parametrize("name", NAMES)
def test_both_halves_agree(name):
    """`make notebook` makes them agree."""
    pairs = [[(c.cell_type, c.source) for c in cells(f"{name}.{half}")] for half in ("md", "ipynb")]
    assert pairs[0] == pairs[1]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_stored(name):
    """Whoever opens it sees the pictures before running anything, and no failure among them."""
    stored = code(jupytext.read(FOLDER / f"{name}.ipynb"))
    kinds = [o["output_type"] for c in stored for o in c.outputs]
    assert all(c.execution_count for c in stored) and "error" not in kinds and kinds.count("display_data") >= 2


def run(name: str):
    """(text, number of pictures) that the notebook leaves at small sizes."""
    notebook = jupytext.read(FOLDER / f"{name}.md")
    where = next(i for i, c in enumerate(notebook.cells) if c.source.startswith("%matplotlib"))
    notebook.cells.insert(where + 1, nbformat.v4.new_code_cell(SMALL[name]))
    place = {"metadata": {"path": str(FOLDER)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    outputs = [o for c in code(notebook) for o in c.outputs]
    return "".join(o.get("text", "") for o in outputs), sum("image/png" in o.get("data", {}) for o in outputs)


def test_quickstart_runs():
    text, figures = run("quickstart")
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


def test_evaluate_your_model_runs():
    text, figures = run("evaluate_your_model")
    assert figures == 2 and "with a softmax: probabilities" in text
    found = dict(re.findall(r"^(.*): accuracy [\d.]+, robust ([\d.]+) at epsilon 1", text, flags=re.M))
    assert set(found) == {"mine", "adversarially trained"} and found["mine"] < found["adversarially trained"]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_cell_installs_irob_and_keeps_jax(name, monkeypatch):
    """As in Colab: an older jax with the plug-in of a GPU, some packages there, some not."""
    commands = []
    here = {"jax": "0.7.2", "jaxlib": "0.7.2", "numpy": "99"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: [
        "jax>=0.10", "jaxlib>=0.10", "numpy>=2.0", "tqdm>=4.66", 'torch>=2.6; extra == "torch"'])
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: [
        types.SimpleNamespace(metadata={"Name": n}, version=v) for n, v in here.items()])
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.setenv("IROB_SOURCE", "irob.whl")
    exec(next(c.source for c in cells(f"{name}.md") if c.cell_type == "code"), {})
    first, second = commands
    assert first[-2:] == ["--no-deps", "irob.whl"] and second[-1] == "tqdm>=4.66"
    pins = pathlib.Path(second[second.index("--constraint") + 1])
    assert pins.read_text() == "jax==0.7.2\njaxlib==0.7.2\n"
    assert not any(word.startswith("jax") for command in commands for word in command)
