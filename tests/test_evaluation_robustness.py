"""Attacked accuracy against closed forms: a linear classifier on an affine generator, where PGD is exact."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from irob import attacks
from irob.core import laws, store
from irob.core.check import InputError
from irob.core.laws import EvidenceError
from irob.core.rows import Quantity, select
from irob.core.threat import LatentBall, LpBall
from irob.core.types import Classifier, Dataset, Generator
from irob.evaluation.accuracy import attacked
from irob.evaluation.verbs import attack

SHAPE = (2, 2, 1)
W = jnp.array([[1.0, 2.0, -1.0, 0.5]]) / 2.5  # |w| = 1
PGD = {"steps": 20, "start": "zero"}
INSIDE = {"steps": 60}


def draw(variables, z, y):
    """g(z, y) = 0.5 + 0.1 z - 0.15 w (y - 1/2) 2, an isometry scaled by 0.1."""
    return (0.5 + 0.1 * z + variables * (2 * y - 1)).reshape(SHAPE)


def logits(variables, x):
    s = variables @ (x.ravel() - 0.5)
    return jnp.concatenate([-s, s])


GENERATOR = Generator(0.15 * W[0], draw, 4, 2, SHAPE, name="toy")
CLASSIFIER = Classifier(W, logits, 2, SHAPE, name="line")
EPSILONS = (0.05, 0.1, 0.15)


def dataset(n, seed=0):
    z = np.asarray(jax.random.normal(jax.random.key(seed), (n, 4)))
    y = np.arange(n, dtype=np.int32) % 2
    return Dataset(np.asarray(jax.vmap(GENERATOR)(z, y)), y, z, 2, SHAPE, "toy")


def robust(data, epsilon):
    """The exact verdict: the signed distance from the boundary exceeds epsilon."""
    signed = np.asarray((data.x.reshape(-1, 4) - 0.5) @ W[0]) * (2 * data.y - 1)
    return signed > epsilon


def evaluate(data, plans, **keywords):
    on = attacked.Evaluation(data, **{"epsilons": EPSILONS, "generator": GENERATOR, "name": "line"} | keywords)
    return attacked.evaluate(jax.random.key(0), CLASSIFIER, plans, on)


@pytest.fixture(scope="module")
def both():
    data = dataset(120)
    plans = [attacked.AttackPlan("pgd", 60, PGD, chunk=20),
             attacked.AttackPlan("in_distribution", 30, INSIDE, chunk=20)]
    return data, *evaluate(data, plans, trials=2)


def test_attacked_accuracy_is_the_closed_form(both):
    data, rows, _ = both
    for e in EPSILONS:
        (row,) = select(rows, Quantity.ROBUST, epsilon=e, method="pgd")
        assert row.value == pytest.approx(robust(data, e).mean(), abs=1e-9)
        assert (row.side, row.certified, str(row.threat), row.n) == ("upper", False, f"l2 {e:g}", 120)


def test_trials_have_images_of_their_own(both):
    data, rows, _ = both
    for e in EPSILONS:
        (row,) = select(rows, Quantity.ROBUST, epsilon=e, method="pgd")
        shares = robust(data, e).reshape(2, 60).mean(axis=1)
        assert row.detail.std == pytest.approx(shares.std(ddof=1), abs=1e-9)
        assert row.detail.trials == 2
    assert any(r.detail.std > 0 for r in select(rows, Quantity.ROBUST, method="pgd"))


def test_intervals_are_exact(both):
    """Clopper and Pearson by the quantiles of the beta distribution."""
    _, rows, _ = both
    for row in rows:
        k = round(row.value * row.n)
        low = stats.beta.ppf(0.025, k, row.n - k + 1) if k else 0.0
        high = stats.beta.ppf(0.975, k + 1, row.n - k) if k < row.n else 1.0
        assert (row.low, row.high) == pytest.approx((low, high), abs=1e-9)


def test_in_distribution_agrees_on_an_isometry_that_covers_the_space(both):
    """The toy generator draws every image, so both attacks have the same closed form; the latent one may lag."""
    data, rows, outcomes = both
    first = np.concatenate([np.arange(30), np.arange(60, 90)])
    for i, e in enumerate(EPSILONS):
        truth = robust(data, e)[first]
        found = outcomes[1].robust[:, i].ravel()
        assert np.all(found >= truth)
        assert np.mean(found != truth) < 0.1
    assert {r.n for r in select(rows, Quantity.IN_DISTRIBUTION)} == {60}


def test_natural_accuracy_is_given_for_every_sample_size(both):
    _, rows, _ = both
    assert {r.n for r in select(rows, Quantity.NATURAL)} == {120, 60}
    assert all(r.side == "exact" and r.threat is None for r in select(rows, Quantity.NATURAL))


def test_all_attacks_together_are_the_strongest(both):
    _, rows, _ = both
    for e in EPSILONS:
        (together,) = select(rows, Quantity.ROBUST, epsilon=e, method="pgd + in_distribution")
        (inside,) = select(rows, Quantity.IN_DISTRIBUTION, epsilon=e)
        assert together.value <= inside.value and together.n == inside.n
    assert laws.missed_by_attacks(rows) == []  # PGD is exact here


def test_attacks_of_one_kind_count_together():
    """An image is robust under several attacks if it is under each, of those images that all of them saw."""
    free = [attacked.AttackPlan("pgd", n, {**PGD, "steps": steps}, chunk=20) for n, steps in ((20, 20), (30, 1))]
    inside = [attacked.AttackPlan("in_distribution", 20, {"steps": steps}, chunk=20) for steps in (60, 1)]
    rows, outcomes = evaluate(dataset(30), [*free, *inside])
    for i, e in enumerate(EPSILONS):
        for quantity, group in ((Quantity.ROBUST, outcomes[:2]), (Quantity.IN_DISTRIBUTION, outcomes[2:])):
            method = " + ".join(o.plan.attack for o in group)
            (row,) = select(rows, quantity, epsilon=e, method=method)
            left = group[0].robust[0, i, :20] & group[1].robust[0, i, :20]
            assert row.value == left.mean() and row.n == 20
        every = select(rows, Quantity.ROBUST, epsilon=e, method="pgd + pgd + in_distribution + in_distribution")
        assert every[0].value == np.all([o.robust[0, i, :20] for o in outcomes], axis=0).mean()


def test_the_law_can_be_broken(both):
    _, rows, _ = both
    bad = [dataclasses.replace(r, value=0.0, low=0.0) if r.quantity == Quantity.IN_DISTRIBUTION else r for r in rows]
    with pytest.raises(EvidenceError, match="below unconstrained"):
        laws.inside_is_above_outside(bad)


def test_a_weak_attack_is_reported():
    weak = attacked.AttackPlan("pgd", 20, {"steps": 20, "start": "zero", "step_size": 1e-5}, chunk=20)
    rows, _ = evaluate(dataset(40), [weak, attacked.AttackPlan("in_distribution", 20, INSIDE, chunk=20)])
    assert any("too weak" in s for s in laws.missed_by_attacks(rows))


def test_monotone_plans_attack_survivors_only(monkeypatch):
    seen = []
    real = attacks.run
    monkeypatch.setattr(attacks, "run", lambda *a, **k: seen.append(len(np.unique(a[3], axis=0))) or real(*a, **k))
    data = dataset(40)
    rows, _ = evaluate(data, [attacked.AttackPlan("pgd", 40, PGD, chunk=20)])
    assert seen == [40, int(robust(data, 0.05).sum()), int(robust(data, 0.1).sum())]
    seen.clear()
    again, _ = evaluate(data, [attacked.AttackPlan("pgd", 40, PGD, monotone=False, chunk=20)])
    assert seen == [40, 40, 40]
    assert [r.value for r in rows] == [r.value for r in again]


def test_pictures_show_the_attacked_image(both):
    data, _, outcomes = both
    shown = outcomes[0].x_adv[-1]
    fooled = ~outcomes[0].robust[0, -1, : len(shown)]
    wrong = np.asarray([int(jnp.argmax(CLASSIFIER(x))) for x in shown]) != data.y[: len(shown)]
    assert np.array_equal(wrong, fooled)
    assert np.array_equal(shown[~fooled], data.x[: len(shown)][~fooled]), "what no attack changed is shown as it is"


def test_a_killed_run_ends_in_the_same_rows(tmp_path, monkeypatch):
    plans = [attacked.AttackPlan("pgd", 20, PGD), attacked.AttackPlan("in_distribution", 20, INSIDE)]
    data = dataset(40)
    whole, _ = evaluate(data, plans, trials=2)
    real, calls = attacks.run, []

    def dies(*a, **k):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*a, **k)

    monkeypatch.setattr(attacks, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate(data, plans, trials=2, pieces=store.Pieces(tmp_path))
    done = len(list(tmp_path.glob("*.npz")))
    assert done == 4  # natural predictions and three attacks
    kept = store.Pieces(tmp_path)
    again, _ = evaluate(data, plans, trials=2, pieces=kept)
    assert again == whole and kept.reused == done and kept.computed > 0
    fresh = store.Pieces(tmp_path, resume=False)
    assert evaluate(data, plans, trials=2, pieces=fresh)[0] == whole and fresh.reused == 0


def test_a_damaged_piece_is_computed_again(tmp_path):
    keep = store.Pieces(tmp_path)
    assert keep.get("a", {"n": 1}, lambda: {"v": 1.5})["v"] == 1.5
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:20])
    assert keep.get("a", {"n": 1}, lambda: {"v": 2.5})["v"] == 2.5
    assert keep.get("a", {"n": 1}, lambda: {"v": 3.5})["v"] == 2.5
    assert keep.get("a", {"n": 2}, lambda: {"v": 4.5})["v"] == 4.5, "other settings are another piece"


def test_images_and_codes_that_cannot_be_are_refused_before_any_work(tmp_path):
    good = dataset(20)
    for change, words in (({"x": 2 * good.x - 1}, "wanted \\[0, 1\\]"), ({"z": good.z * np.nan}, "codes z: got NaN"),
                          ({"y": good.y + 1}, "labels")):
        with pytest.raises(InputError, match=words):
            evaluate(dataclasses.replace(good, **change), [attacked.AttackPlan("pgd", 20, PGD)],
                     pieces=store.Pieces(tmp_path))
        assert not any(tmp_path.iterdir())


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="40, wanted 3 trials x 20"):
        evaluate(dataset(40), [attacked.AttackPlan("pgd", 20, PGD)], trials=3)


def test_options_go_to_the_attacks_that_take_them():
    given = {"steps": 7, "step_size": 0.5, "restarts": None}
    pgd, inside = attack.plans(["pgd", "in_distribution"], [5, 3], "paper", given)
    assert pgd.options == {"steps": 7, "step_size": 0.5, "protocol": "paper"} and not pgd.monotone
    assert inside.options == {"steps": 7, "protocol": "paper"}
    free, published = attack.plans(["pgd", "in_distribution:paper"], [5, 3], "default", {})
    assert free.options == {} and free.monotone
    assert published.options == {"protocol": "paper"} and not published.monotone
    with pytest.raises(InputError, match="step_size"):
        attack.plans(["in_distribution"], [5], "default", {"step_size": 0.5})
    with pytest.raises(InputError, match="did you mean 'pgd'"):
        attack.plans(["pdg"], [5], "default", {})
    with pytest.raises(InputError, match="protocol"):
        attack.plans(["pgd"], [5], "papre", {})
    with pytest.raises(InputError, match="protocol"):
        attack.plans(["pgd:papre"], [5], "default", {})


def test_a_minimum_norm_attack_carries_its_curve(both):
    """The curve's value at each epsilon is the row's, and it starts at natural accuracy."""
    _, rows, outcomes = both
    first, *rest = select(rows, Quantity.IN_DISTRIBUTION, method="in_distribution")
    curve = first.detail.curve
    assert not any(r.detail.curve for r in rest) and outcomes[0].distance is None
    assert curve["epsilons"][0] == 0 and curve["epsilons"][-1] == EPSILONS[-1]
    for row in (first, *rest):
        at = np.searchsorted(curve["epsilons"], row.epsilon + 1e-5, side="right") - 1
        assert curve["robust"][at] == pytest.approx(row.value, abs=1e-5)


def test_an_ensemble_says_what_broke_and_resumes(tmp_path, monkeypatch):
    """Two classes leave out the targeted members; a state file is there while it works and gone afterwards."""
    plan = attacked.AttackPlan("autoattack", 20, {"steps": 10, "queries": 20})
    seen = []
    real = attacks.run
    monkeypatch.setattr(attacks, "run", lambda *a, **k: seen.append(k["state"]) or real(*a, **k))
    data = dataset(20)
    rows, _ = evaluate(data, [plan], pieces=store.Pieces(tmp_path))
    alone = select(rows, Quantity.ROBUST, method="autoattack")
    assert len(seen) == 3 and all(path.parent == tmp_path and not path.exists() for path in seen)
    for row in alone:
        newly = sum(row.detail.broken_by.values())
        assert newly >= 0 and row.value == pytest.approx(robust(data, row.epsilon).mean(), abs=1e-9)
    total = sum(sum(r.detail.broken_by.values()) for r in alone)
    assert total == round(20 * (1 - alone[-1].value))


def test_an_attack_that_seeks_no_nearest_success_is_run_at_every_strength(monkeypatch):
    """In a latent ball an attack of 0.5 is not one of 1 cut short: each strength is a run, on what is left."""
    seen = []
    real = attacks.run
    monkeypatch.setattr(attacks, "run", lambda *a, **k: seen.append(float(a[0].threat.strength)) or real(*a, **k))
    data, plan = dataset(20), attacked.AttackPlan("on_manifold", 20, {"steps": 20, "learning_rate": 0.1}, chunk=20)
    rows, (outcome,) = evaluate(data, [plan])
    assert seen == list(EPSILONS) and outcome.distance is None
    seen.clear()
    etas, slope = (0.5, 1.0), 0.1 * np.abs(W[0]).sum()  # x moves by 0.1 eta in every pixel
    rows, _ = evaluate(data, [plan], threat=LatentBall(GENERATOR, 0.0), epsilons=etas)
    assert seen == list(etas)
    for eta in etas:
        (row,) = [r for r in rows if str(r.threat) == f"latent linf {eta:g}"]
        assert row.quantity == Quantity.IN_DISTRIBUTION and row.epsilon == eta
        assert row.value == pytest.approx(robust(data, slope * eta).mean(), abs=0.051)
    assert rows[-1].detail.curve is None


class Unnested(LpBall):
    """A ball that does not say that it holds the smaller ones."""

    nested = False


def test_what_is_broken_is_carried_over_only_where_the_threat_is_nested(monkeypatch):
    seen = []
    real = attacks.run
    monkeypatch.setattr(attacks, "run", lambda *a, **k: seen.append(len(np.unique(a[3], axis=0))) or real(*a, **k))
    jax.tree_util.register_pytree_node(
        Unnested, lambda t: ((t.epsilon,), (t.norm, t.bounds)), lambda s, e: Unnested(s[0], e[0], s[1]))
    plans = [attacked.AttackPlan("pgd", 40, PGD, chunk=20), attacked.AttackPlan("fab", 40, {"steps": 3}, chunk=20)]
    evaluate(dataset(40), plans, threat=Unnested("l2", 0.0))
    assert seen == [40] * 6
