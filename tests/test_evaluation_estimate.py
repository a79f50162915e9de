"""Table 1 on a toy: numbers, protocols, resumption, files, and bad input."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from irob import generators
from irob.core.check import InputError
from irob.core.evidence import Report
from irob.core.store import Pieces
from irob.evaluation.verbs import estimate as door
from irob.evaluation.verbs.estimate import EstimatePlan, estimate
from irob.generators import affine
from irob.math.quantiles import coverage
from irob.report import text

PLAN = EstimatePlan(samples=12, neighbours=5, delta=0.1, trials=3)


@pytest.fixture(scope="module")
def toy():
    return affine.build(key=jax.random.key(3), latent_dim=4, num_classes=2, image_shape=(3, 3, 1),
                        singular_values=[[1.0] * 4, [0.5] * 4])


@pytest.fixture(scope="module")
def found(toy):
    return estimate(jax.random.key(0), toy, PLAN, name="toy")


def test_constants_of_an_isometry(found):
    """Exact in the corrected protocol; in the published one twice that, since images are measured in [-1,1]."""
    by = {(r.detail.protocol, r.detail.class_index): r for r in found.rows}
    for c, truth in enumerate((1.0, 0.5)):
        assert by["default", c].value == pytest.approx(truth, rel=1e-4)
        assert by["paper", c].value == pytest.approx(2 * truth, rel=1e-4)
    assert all(r.side == "lower" and not r.certified and r.n == 12 for r in found.rows)
    assert found.values["corrected"].shape == found.values["paper"].shape == (3, 2, 12)


def test_quantiles_of_a_curved_toy():
    """Mean and deviation over trials of the quantiles that NumPy finds in the values."""
    g = generators.build("sphere", key=jax.random.key(1), latent_dim=3)
    plan = EstimatePlan(samples=40, neighbours=5, delta=0.2, trials=3, confidence=0.9)
    got = estimate(jax.random.key(0), g, plan)
    corrected, paper = got.rows
    assert corrected.detail.class_index is None  # one class: an unconditional generator
    each = np.percentile(got.values["paper"][:, 0], 80, axis=1)
    assert paper.value == pytest.approx(each.mean()) and paper.detail.std == pytest.approx(each.std(ddof=1))
    d = corrected.detail
    k = next(k for k in range(1, 41) if coverage(40, k, 0.8) >= 0.9)
    each = np.sort(got.values["corrected"][:, 0], axis=1)[:, k - 1]
    assert corrected.value == pytest.approx(each.mean()) and d.confidence == pytest.approx(coverage(40, k, 0.8))
    assert d.supported_delta == pytest.approx(1 - 0.1 ** (1 / 40))
    assert d.pooled_confidence >= 0.9


def test_too_few_codes_are_said(found):
    """12 codes do not support delta = 0.1 at 95 %: the maximum, with the confidence that it has."""
    r = found.rows[0]
    assert r.detail.confidence == pytest.approx(1 - 0.9**12) and r.detail.supported_delta > 0.1


def test_an_interrupted_run_ends_in_the_same_result(toy, found, tmp_path):
    class Stop(Exception):
        pass

    class Fragile(Pieces):
        def get(self, *a):
            if self.computed == 4:
                raise Stop
            return super().get(*a)

    with pytest.raises(Stop):
        estimate(jax.random.key(0), toy, PLAN, name="toy", pieces=Fragile(tmp_path))
    pieces = Pieces(tmp_path)
    again = estimate(jax.random.key(0), toy, PLAN, name="toy", pieces=pieces)
    assert (pieces.reused, pieces.computed) == (4, 8)
    assert again.rows == found.rows
    for word, values in found.values.items():
        np.testing.assert_array_equal(again.values[word], values)


def test_a_single_class_is_that_of_the_whole(toy, found):
    one = estimate(jax.random.key(0), toy, EstimatePlan(samples=12, neighbours=5, delta=0.1, trials=3, classes=(1,)))
    np.testing.assert_array_equal(one.values["paper"][:, 0], found.values["paper"][:, 1])


def test_maximised_finds_more():
    """On a curved toy the ascent finds at least what draws find, on the same codes."""
    g = generators.build("sphere", key=jax.random.key(1), latent_dim=3)
    plan = EstimatePlan(samples=12, neighbours=5, delta=0.2, trials=1, protocol="all")
    got = estimate(jax.random.key(0), g, plan)
    assert [r.detail.protocol for r in got.rows] == ["default", "paper", "maximised"]
    assert np.all(got.values["maximised"] >= got.values["corrected"] * (1 - 1e-4))
    assert np.all(got.values["maximised"] >= got.values["paper"] / 2 * (1 - 1e-4))


def test_certified_bounds_what_the_others_find(toy):
    plan = EstimatePlan(samples=5, neighbours=5, delta=0.3, trials=1, protocol="certified")
    got = estimate(jax.random.key(0), toy, plan)
    assert {r.side for r in got.rows} == {"upper"} and not any(r.certified for r in got.rows)
    below = estimate(jax.random.key(0), toy, dataclasses.replace(plan, protocol="maximised"))
    assert np.all(got.values["certified"] >= below.values["maximised"])
    np.testing.assert_allclose(got.values["certified"], below.values["maximised"], rtol=1e-3)
    assert "upper bounds" in text.render(door.table(got.rows)) and "from below" not in text.render(door.table(got.rows))


@pytest.mark.parametrize("protocol", ["corrected", "maximised", "certified"])
def test_the_automatic_radius_satisfies_the_proviso(toy, protocol):
    """Affine: r L = epsilon in the class that moves least."""
    plan = EstimatePlan(samples=6, neighbours=5, delta=0.3, trials=1, protocol=protocol)
    chosen = door.auto(jax.random.key(0), toy, plan, 0.7)
    slopes = estimate(jax.random.key(1), toy, chosen).values[protocol].reshape(2, -1).max(1)
    assert np.all(chosen.radius * slopes >= 0.7 * (1 - 0.01)) and chosen.radius * slopes.min() <= 0.7 * 1.02


def test_table(found):
    shown = text.render(door.table(found.rows))
    assert "largest" in shown and "1.00 ± 0.00" in shown and "2.00 ± 0.00" in shown and "positive orthant" in shown


@pytest.mark.parametrize("bad", [
    {"samples": 0}, {"neighbours": 0}, {"trials": 0}, {"radius": 0.0}, {"radius": np.nan}, {"delta": 0.0},
    {"delta": 1.0}, {"confidence": 1.0}, {"protocol": "corect"}, {"classes": (2,)}, {"classes": (-1,)},
], ids=str)
def test_bad_plan(toy, bad):
    with pytest.raises(InputError):
        EstimatePlan(**bad).chosen(toy)


def test_command_line(toy, tmp_path):
    """Files with rows and provenance, a table on stdout; bad input is one line, status 2, and leaves nothing."""
    generators.save(tmp_path / "toy", toy, options={
        "latent_dim": 4, "num_classes": 2, "image_shape": [3, 3, 1]})

    def call(*more):
        command = [sys.executable, "-m", "irob", "estimate", "--generator", str(tmp_path / "toy"), "--samples", "4",
                   "--neighbours", "3", "--trials", "2", "--out", str(tmp_path / "out"), *more]
        return subprocess.run(command, capture_output=True, text=True)

    bad = call("--radius", "-1")
    assert bad.returncode == 2 and len(bad.stderr.strip().splitlines()) == 1 and "radius" in bad.stderr
    assert not (tmp_path / "out").exists()
    good = call("--show-memory", "--memory", "2GiB")
    assert good.returncode == 0, good.stderr
    assert "largest" in good.stdout and "peak memory" in good.stdout
    report = Report.from_json((tmp_path / "out" / "estimate.json").read_text())
    assert len(report.rows) == 4 and report.provenance["seed"] == 0
    assert len(next(iter(report.provenance["weights"].values()))) == 64
    assert json.loads((tmp_path / "out" / "estimate.json").read_text())["provenance"]["matmul_precision"] == "float32"
    assert len((tmp_path / "out" / "estimate.csv").read_text().splitlines()) == 5
    assert np.load(tmp_path / "out" / "constants.npz")["paper"].shape == (2, 2, 4)
