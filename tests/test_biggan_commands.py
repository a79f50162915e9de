"""What a user of biggan128-release.pt does: two commands to Table 2 and the ImageNet10 half of Table 3."""

import itertools
import json
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from irob import data, generators
from irob.core import keys, memory, published, store
from irob.core.check import InputError
from irob.evaluation import trained
from irob.evaluation.verbs import estimate
from irob.generators import biggan
from irob.report import sections
from irob.training import settings

# The commands of the README on the sizes of a test: what they are made of is all there, each part a little.
SMALL = """
import sys
from irob.core import compile
options = compile.options()
compile.options = lambda: {**options, "xla_backend_optimization_level": 0}
from irob.evaluation import trained
from irob.report.sections import classifiers, constants, samples
Attack = classifiers.Attack
classifiers.IMAGENET10["quick"] = classifiers.Sizes(
    10, 1, (Attack("pgd", 4, {"steps": 2}), Attack("in_distribution", 2, {"steps": 1, "search": "adaptive"})), chunk=4)
constants.IMAGENET10["quick"] = constants.Sizes(codes=1, neighbours=3, trials=1)
samples.Samples.sizes = lambda self, preset, dataset: samples.Sizes(10, 1)
trained.SIZES["quick"] = (10, 1, 10)
from irob.__main__ import main
main()
"""


def irob(*arguments, cwd, code=SMALL, **options):
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, **options)


def one_line(done, *words):
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with biggan128-release.pt: every name and shape as published, but for the channels' number."""
    torch = pytest.importorskip("torch")
    from tests.twins import biggan as twins

    path = tmp_path_factory.mktemp("user")
    torch.save(twins.randomise(twins.Ivclab(128, 4)).state_dict(), path / "biggan128-release.pt")
    return path


def test_two_commands(folder):
    """Table 2 and the ImageNet10 half of Table 3."""
    first = irob("import", "biggan128", "--source", "biggan128-release.pt", "--out", "biggan128", cwd=folder)
    assert first.returncode == 0, first.stderr
    assert "1000 classes, 128x128 pixels" in first.stdout
    done = irob("report", "--generator", "biggan128", "--out", "out", "--memory", "1GiB", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Table 2. Local Lipschitz constants" in done.stdout and "Maltese dog" in done.stdout
    report = json.loads((folder / "out/report.json").read_text())
    rows = report["rows"]
    assert {r["dataset"] for r in rows} == {"imagenet10_gen"}
    constants = [r for r in rows if r["quantity"] == "local Lipschitz constant"]
    assert {(r["detail"]["protocol"], r["detail"]["class_index"]) for r in constants} == {
        (p, c) for p in ("default", "paper") for c in range(10)}
    # The published code measures ImageNet10 in [0, 1], where epsilon and the classifiers live.
    assert {r["detail"]["units"] for r in constants} == {"[0,1]"} and all(r["value"] > 0 for r in constants)
    assert all(r["side"] == "lower" and not r["certified"] for r in constants)
    for method in ("adv", "trades"):
        own = [r for r in rows if r["model"].endswith(f"imagenet10_gen_{method}")]
        assert {(r["quantity"], r["threat"] and r["threat"]["strength"]) for r in own} >= {
            (q, e) for q in ("robust accuracy", "in-distribution robust accuracy") for e in (1, 2, 3)}
        (config,) = (folder / "out/classifiers").glob(f"*/imagenet10_gen_{method}/config.json")
        recipe = json.loads(config.read_text())["recipe"]
        assert (recipe["classifier"], recipe["steps"], recipe["weight_decay"]) == ("big_cnn", 10, 2e-4)
        assert recipe["learning_rate"] == 0.01
    bounds = [r for r in rows if r["quantity"] == "intrinsic robustness"]
    assert any(r["detail"]["alpha"] == 0.15 for r in bounds) and {r["detail"]["protocol"] for r in bounds} == {
        "default", "paper"}
    assert report["provenance"]["weights"]["biggan128"]
    page = (folder / "out/report.html").read_text()
    assert "Table 2" in page and "[−1,1]" not in page
    assert "14.9" in (folder / "out/table1.tex").read_text() and "23.4" in (folder / "out/table3.tex").read_text()
    wrong = irob("attack", "--generator", "biggan128", "--classifier", "mnist_gen_adv", "--samples", "4", cwd=folder)
    one_line(wrong, "takes images (28, 28, 1), got (32, 32, 3) of data set imagenet10_gen")
    assert not (folder / "out/attack").exists()


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    """A BigGAN whose program is compiled in a moment, under the names of ImageNet10."""
    layout = biggan.Layout(((8, 8, True),) * 4, latent_dim=6, num_classes=1000, embedding=0)
    path = tmp_path_factory.mktemp("little") / "g"
    generators.save(path, biggan.build(key=jax.random.key(0), layout=layout))
    return path


def test_table_2_goes_on_after_a_kill(little):
    """kill -9 in the middle, the same command again, and the result of a run that nobody disturbed."""
    arguments = ["estimate", "--generator", "g", "--samples", "3", "--neighbours", "9", "--trials", "3",
                 "--protocol", "paper"]
    command = [sys.executable, "-c", SMALL, *arguments, "--out", "killed"]
    process = subprocess.Popen(command, cwd=little.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept, begin = little.parent / "killed/pieces", time.monotonic()
    while not (kept.is_dir() and any(kept.glob("*.npz"))) and time.monotonic() - begin < 100:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < len(list(kept.glob("*.npz"))) < 30 and not (little.parent / "killed/estimate.json").exists()
    before = {p.name: p.stat().st_mtime_ns for p in kept.glob("*.npz")}
    for out in ("killed", "quiet"):
        done = irob(*arguments, "--out", out, "--memory", "64MiB" if out == "quiet" else "1GiB", cwd=little.parent)
        assert done.returncode == 0, done.stderr
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in kept.glob("*.npz")}.items()  # used, not made again
    small = run_in_blocks(little)
    again, once = (np.load(little.parent / out / "constants.npz")["paper"] for out in ("killed", "quiet"))
    assert again.shape == (3, 10, 3)
    np.testing.assert_allclose(again, once, rtol=1e-5)
    np.testing.assert_allclose(small, once[:1, :2], rtol=1e-5)


def run_in_blocks(little):
    """One trial of two classes, one code to a piece, as of a large generator."""
    g = data.narrowed("imagenet10_gen", generators.load(little))
    plan = estimate.EstimatePlan(3, 9, trials=1, protocol="paper", classes=[0, 1])
    key = keys.named(keys.from_seed(0), "lipschitz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "LARGE", 1)
        patch.setattr(estimate, "EVALUATIONS", 9)
        assert estimate.at_once(g, plan) == 1
        kept = store.Pieces()
        found = estimate.estimate(key, g, plan, dataset="imagenet10_gen", pieces=kept)
    assert kept.computed == 6
    return found.values["paper"]


@pytest.mark.parametrize(("arguments", "words"), [
    (["estimate", "--memory", "8XB"], "wanted a size such as 8GiB"),
    (["report", "--memory", "0"], "wanted a size such as 8GiB"),
    (["estimate", "--classes", "10"], "class: got 10, wanted one in [0, 9]"),
    (["estimate", "--resize", "cubic"], "unknown resize 'cubic'"),
    (["report", "--dataset", "mnist_gen", "--resize", "nearest"], "takes no resize"),
    (["sample", "--narrow", "cifar10_gen", "--resize", "area"], "takes no resize"),
])
def test_bad_options_are_one_line(arguments, words, little, capsys, monkeypatch):
    from irob import __main__

    monkeypatch.chdir(little.parent)
    monkeypatch.setattr(sys, "argv", ["irob", *arguments, "--generator", "g", "--out", "wrong"])
    with pytest.raises(SystemExit) as stopped:
        __main__.main()
    said = capsys.readouterr().err.strip()
    assert stopped.value.code == 2 and words in said and len(said.splitlines()) == 1
    assert not (little.parent / "wrong").exists()


def test_a_generator_tells_its_data(little):
    whole = generators.load(little)
    ten = data.narrowed("imagenet10_gen", whole)
    assert (ten.num_classes, ten.image_shape, ten.stages[-1].method) == (10, (32, 32, 3), "area")
    assert ten.module.classes == biggan.IMAGENET10
    assert data.narrowed("imagenet10_gen", ten) is ten
    near = data.narrowed("imagenet10_gen", ten, "nearest")
    assert near.stages[-1].method == "nearest"
    assert data.drawn_by(whole) == data.drawn_by(ten) == "imagenet10_gen"
    assert data.drawn_by(biggan.build(key=jax.random.key(0), width=1)) == "cifar10_gen"
    assert data.drawn_by(generators.load("acgan_mnist")) == "mnist_gen"
    # Equal weights and another composition: another constant, so no piece of the one may serve the other.
    assert len({store.whole(g) for g in (whole, ten, near, biggan.remake(ten, truncation=0.5))}) == 4
    assert store.whole(near) == store.whole(data.narrowed("imagenet10_gen", whole, "nearest"))


def test_the_papers_settings():
    paper = published.settings("imagenet10_gen")
    assert (paper.codes, paper.neighbours, paper.alpha, paper.scale) == (500, 1000, 0.15, 1)
    assert max(paper.lipschitz) == 14.9 and len(paper.lipschitz) == len(paper.names) == 10
    of = {s.name: s for s in sections.named(sections.names())}
    chosen = of["constants"].sizes("paper", "imagenet10_gen")
    assert (chosen.codes, chosen.neighbours, chosen.radius) == (500, 1000, 0.5)
    assert of["limits"].sizes("paper", "imagenet10_gen").codes.certified == 0
    assert [s.name for s in sections.default("imagenet10_gen")] == ["classifiers", "samples", "constants"]
    for preset, section in itertools.product(("quick", "standard", "paper"), of.values()):
        assert section.sizes(preset, "mnist_gen") is section.presets[preset]
        assert section.sizes(preset, "imagenet10_gen") and preset in trained.SIZES
    given = settings.paper(settings.Searching(learning_rate=0.3), "imagenet10_gen")
    assert (given.learning_rate, given.classifier, given.weight_decay, given.steps) == (0.3, "big_cnn", 2e-4, 10)
    given = settings.paper(settings.Searching(), "mnist_gen")
    assert (given.learning_rate, given.classifier, given.weight_decay, given.steps) == (0.05, "small_cnn", 0.0, 40)


def test_a_budget_holds_everywhere(little):
    g = data.narrowed("imagenet10_gen", generators.load(little))
    one = memory.needed(g, np.zeros(6, np.float32), np.int32(0))
    own = sum(a.nbytes for a in jax.tree.leaves(g.variables))
    with memory.limited(str(own + 20 * one)):
        assert memory.fitting(g, 100) == 8 and memory.fitting(g, 3) == 3 and memory.fitting(g, 100, copies=4) == 2
        assert memory.fitting(g, 100, gradient=True) < 8
        with memory.limited(""):  # nothing said leaves it as it is
            assert memory.fitting(g, 100) == 8
    with memory.limited(str(own)), pytest.raises(InputError, match="give more with --memory"):
        memory.fitting(g, 100)
    assert memory.fitting(g, 5) == 5
