"""Certificates beside attacks on linear classifiers, where both are exact up to noise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from irob import attacks, certify, classifiers
from irob.certify import smoothing
from irob.core import layers
from irob.core.check import InputError
from irob.core.evidence import Report
from irob.core.laws import EvidenceError
from irob.core.rows import Quantity, select
from irob.core.store import Pieces
from irob.core.threat import LpBall
from irob.core.types import Dataset
from irob.evaluation.accuracy import attacked
from irob.evaluation.accuracy.certified import CertifierPlan, evaluate
from irob.evaluation.verbs import certify as certify_verb
from irob.report import certificates, figures, html

W = np.array([1.0, 2.0, -1.0, 0.5]) / 2.5  # |w| = 1
KERNEL = jnp.asarray(np.stack([-W, W], axis=1), jnp.float32)
LINE = classifiers.from_layers((layers.Flatten(), layers.Dense(KERNEL, jnp.asarray([0.5, -0.5]) * W.sum())), 2)
RADII = [0.05, 0.1, 0.2]
SMOOTH = CertifierPlan("smoothing", {"sigma": 0.2, "samples": 2000})
PGD = attacked.AttackPlan("pgd", 0, {"steps": 20, "start": "zero"})


def dataset(n=40):
    x = np.random.default_rng(0).uniform(0.25, 0.75, size=(n, 2, 2, 1)).astype(np.float32)
    return Dataset(x, (distance(x) > 0).astype(np.int32) ^ (np.arange(n) % 8 == 7), None, 2, (2, 2, 1), "toy")


def distance(x):
    return (x.reshape(-1, 4) - 0.5) @ W


def signed(data):
    return distance(data.x) * (2 * data.y - 1)


def rows_of(data, plans, **keywords):
    run = {k: keywords.pop(k) for k in ("attack", "beside") if k in keywords}
    on = attacked.Evaluation(data, **{"epsilons": RADII, "name": "line", "section": "certify"} | keywords)
    return evaluate(jax.random.key(1), LINE, plans, on, **{"attack": PGD} | run)


@pytest.fixture(scope="module")
def smooth():
    data = dataset()
    return data, *rows_of(data, [SMOOTH])


def test_smoothing_of_a_linear_classifier_is_nearly_exact(smooth):
    data, rows, (outcome,) = smooth
    for i, e in enumerate(RADII):
        (low,) = select(rows, Quantity.CERTIFIED, epsilon=e)
        (high,) = select(rows, Quantity.ROBUST, epsilon=e)
        exact = signed(data) > e
        assert not np.any(outcome.certified[i] & ~exact)  # 120 certificates at level 0.001
        assert not np.any(exact & ~outcome.robust[i])
        assert np.mean(exact & ~outcome.certified[i]) < 0.15 and np.mean(outcome.robust[i] & ~exact) < 0.15
        assert low.value == outcome.certified[i].mean() and high.value == outcome.robust[i].mean()
        ci = stats.binomtest(int(outcome.certified[i].sum()), len(data)).proportion_ci(method="exact")
        assert (low.low, low.high) == pytest.approx((ci.low, ci.high))
        assert (low.side, low.certified, high.side, high.certified) == ("lower", True, "upper", False)
        assert low.model == high.model == "line smoothed σ=0.2" and low.detail.confidence == 0.999
    assert Report(tuple(rows), {}).check() == ()


def test_the_curve_falls_at_each_certified_radius(smooth):
    _, rows, (outcome,) = smooth
    curve = select(rows, Quantity.CERTIFIED, epsilon=RADII[0])[0].detail.curve
    for e, v in zip(curve["epsilon"], curve["value"]):
        assert v == np.mean(outcome.radius > e)
    drawn = certificates._lower(select(rows, Quantity.CERTIFIED), np.asarray([0.0, 0.07, 0.1, 0.15, 5.0]))
    np.testing.assert_allclose(drawn, [np.mean(outcome.radius > e) for e in (0.0, 0.07, 0.1, 0.15, 5.0)])


def test_an_attack_on_the_smoothed_classifier_counts_only_where_its_vote_errs(smooth, monkeypatch):
    """A surrogate may be fooled where the vote is not: the judge decides."""
    data, rows, _ = smooth
    monkeypatch.setattr(smoothing.Smoothing, "predict", lambda self, f, x, **_: np.full(len(x), smoothing.ABSTAIN))
    unjudged, (_outcome,) = rows_of(data, [SMOOTH])
    clean = select(rows, Quantity.NATURAL)[0].value
    assert [r.value for r in select(unjudged, Quantity.ROBUST)] == [clean] * 3


WALKERS = [name for name in certify.names() if hasattr(certify.build(name), "margin")]  # others run by themselves


@pytest.mark.parametrize("name", WALKERS)
def test_a_certifier_that_walks_layers_stands_beside_the_attack_on_the_classifier_itself(name):
    data = dataset()
    rows, (outcome,) = rows_of(data, [CertifierPlan(name)])
    for i, e in enumerate(RADII):
        exact = signed(data) > e
        clear = np.abs(signed(data) - e) > 1e-4
        assert not np.any(outcome.certified[i] & ~exact & clear)
        np.testing.assert_array_equal(outcome.robust[i][clear], exact[clear])
        if name in ("crown", "dual"):  # exact on linear networks
            np.testing.assert_array_equal(outcome.certified[i][clear], exact[clear])
    assert {r.model for r in rows} == {"line"} and outcome.model == "line"
    lows = select(rows, Quantity.CERTIFIED)
    assert len(lows) == 3 and not any(r.detail.allowed or r.detail.contradictions for r in lows)
    assert Report(tuple(rows), {}).check() == ()
    assert figures.png(certificates.figure(rows))[:4] == b"\x89PNG"


def test_radii_of_a_walker_are_found_by_bisection():
    data = dataset()
    rows, (outcome,) = rows_of(data, [CertifierPlan("dual", curve=True)])
    reach = 1.25 * RADII[-1]
    wanted = np.clip(signed(data), 0, reach)
    np.testing.assert_allclose(outcome.radius, wanted, atol=reach / 2**12 + 2e-4)
    assert np.all(outcome.radius <= wanted + 1e-5)
    curve = select(rows, Quantity.CERTIFIED)[0].detail.curve
    assert curve["value"][0] == np.mean(outcome.radius > 0) and curve["value"][-1] == 0


def test_both_kinds_of_certificate_keep_their_classifiers_apart():
    data = dataset(16)
    rows, outcomes = rows_of(data, [CertifierPlan("dual"), SMOOTH], epsilons=[0.1])
    assert [o.model for o in outcomes] == ["line", "line smoothed σ=0.2"]
    assert certificates.models(rows) == ["line", "line smoothed σ=0.2"]
    for model in certificates.models(rows):
        assert [r.quantity for r in rows if r.model == model] == [Quantity.NATURAL, Quantity.ROBUST, Quantity.CERTIFIED]


def test_a_wrong_certifier_is_caught(monkeypatch):
    """One contradiction is one too many where a certificate holds for certain."""
    from irob.certify import dual

    real = dual.Dual.margin
    monkeypatch.setattr(dual.Dual, "margin", lambda self, given, x, y, threat: real(self, given, x, y, threat) + 0.05)
    with pytest.raises(EvidenceError, match="line: dual certifies images"):
        rows_of(dataset(), [CertifierPlan("dual", chunk=13)])


def test_the_default_certifier_is_the_best_that_the_layers_allow():
    data = dataset(2)
    assert certify_verb.best(LINE, data, "l2", None) == next(n for n in certify_verb.BEST if n in WALKERS)
    assert certify_verb.best(LINE, data, "l2", 0.5) == "smoothing"
    with pytest.raises(InputError, match="opaque function.*--certifier smoothing"):
        certify_verb.best(classifiers.from_function(lambda w, x: x.ravel()[:2], (), 2), data, "l2", None)


def test_a_forged_certificate_raises(monkeypatch):
    data = dataset()
    real = smoothing.Smoothing.certify

    def forged(self, *a, **k):
        predicted, radius = real(self, *a, **k)
        return predicted, radius + 1.0

    monkeypatch.setattr(smoothing.Smoothing, "certify", forged)
    with pytest.raises(EvidenceError, match="certifies images .* at epsilon .* and the attack fools"):
        rows_of(data, [SMOOTH])


def test_a_report_with_contradictions_raises(smooth):
    _, rows, _ = smooth
    i = next(i for i, r in enumerate(rows) if r.quantity == Quantity.CERTIFIED)
    allowed = rows[i].detail.allowed
    assert 0 < allowed < 5
    for count, lawful in ((allowed, True), (allowed + 1, False)):
        forged = list(rows)
        forged[i] = dataclasses.replace(rows[i], detail=dataclasses.replace(rows[i].detail, contradictions=count))
        if lawful:
            Report(tuple(forged), {}).check()
        else:
            with pytest.raises(EvidenceError, match="certified images were fooled"):
                Report(tuple(forged), {}).check()


def test_a_killed_run_ends_in_the_same_rows(smooth, tmp_path, monkeypatch):
    data, whole, _ = smooth
    real, calls = attacks.run, []

    def dies(*a, **k):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*a, **k)

    monkeypatch.setattr(attacks, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        rows_of(data, [SMOOTH], pieces=Pieces(tmp_path))
    assert len(list(tmp_path.glob("*.npz"))) == 2  # the certificates, and the attack at the smallest radius
    kept = Pieces(tmp_path)
    assert rows_of(data, [SMOOTH], pieces=kept)[0] == whole and kept.reused == 2 and kept.computed == 2


def test_table_figure_and_files(smooth):
    data, rows, (_outcome,) = smooth
    table = certificates.table(rows)
    assert [line.kind for line in table.lines] == ["group", "ours", "ours", "ours"]
    low, _, high, _, rest = (c.value for c in table.lines[2].cells)
    assert rest == pytest.approx(high - low) and low <= high
    assert any("confidence 0.999" in note for note in table.notes)
    assert figures.png(certificates.figure(rows))[:4] == b"\x89PNG"
    page = html.page(Report(tuple(rows), {"seed": 1}), certificates.blocks(rows), head=False)
    assert "<svg" in page and "certified" in page and "line smoothed" in page
    far, _ = rows_of(data.take(8), [SMOOTH], epsilons=[1.0])
    (note,) = [n for n in certificates.notes(far) if "--copies" in n]
    wanted = int(note.partition(" wants ")[2].partition(" or")[0].replace(",", ""))
    assert 0.2 * stats.norm.ppf(0.001 ** (1 / wanted)) >= 1.0 > 0.2 * stats.norm.ppf(0.001 ** (1 / (wanted - 1)))


def test_bad_input_is_one_line():
    data = dataset(4)
    for plans, keywords, says in [
        ([], {}, "no certifier"),
        ([SMOOTH], {"epsilons": []}, "no epsilon"),
        ([SMOOTH], {"epsilons": [0.0]}, "numbers above 0"),
        ([SMOOTH], {"threat": LpBall("linf", 0.0)}, "norm linf, wanted l2"),
        ([CertifierPlan("smothing")], {}, "did you mean 'smoothing'"),
        ([CertifierPlan("smoothing", {"sigma": -1.0})], {}, "sigma"),
        ([CertifierPlan("smoothing", {"samples": 3})], {}, "at least 10"),
    ]:
        with pytest.raises(InputError, match=says):
            rows_of(data, plans, **keywords)
    with pytest.raises(InputError, match="option of smoothing 'sgma'"):
        certify_verb.plans(["smoothing"], {"sgma": 1.0})
