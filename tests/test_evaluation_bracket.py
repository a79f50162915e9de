"""Brackets close where the truth is known, and their lower ends are never above it more often than they may."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from irob.classifiers import one_lipschitz
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.evidence import Report
from irob.core.rows import LowerEnd, Number, Quantity, Row, UpperEnd
from irob.core.threat import LpBall
from irob.core.types import Generator
from irob.evaluation.limits import latent_regions, regions
from irob.evaluation.limits import lower as brackets
from irob.generators import affine
from irob.math.gaussian import expansion

ALPHA, EPSILON, SCALE = 0.1, 0.2, 0.5
TRUTH = 1 - float(expansion(ALPHA, EPSILON / SCALE))


def upper(value: float, *, certified: bool = True, family: str = "overall", alpha: float = ALPHA) -> Row:
    inputs = (("constant", "upper" if certified else "lower"),)
    return UpperEnd(inputs, alpha, family, "default").row(
        "", "any", LpBall("l2", EPSILON).record(), Number(value), "closed form")


@pytest.fixture(scope="module")
def isometric():
    """Rows of the isometric affine generator, whose limit is attained by half-spaces."""
    g = affine.build(key=jax.random.key(3), latent_dim=6, image_shape=(3, 3, 1), singular_values=SCALE)
    return brackets.bracket(
        jax.random.key(4), g, brackets.BracketPlan(
            (ALPHA,), (EPSILON,), ("overall",), choice=2000, calibration=60_000, samples=60_000, chunk=10_000),
        upper=(upper(TRUTH),))


def test_the_bracket_closes_on_the_isometric_generator(isometric):
    by = {r.detail.witness: r for r in isometric if r.quantity == Quantity.BOUND}
    assert by["latent half-space"].value == pytest.approx(TRUTH, abs=1e-6)
    image = by["half-space, principal component"]
    assert TRUTH - 0.012 < image.value <= TRUTH
    assert image.certified
    assert image.low == image.value < image.high
    width = next(r for r in isometric if r.quantity == Quantity.WIDTH)
    assert width.certified
    assert abs(width.value) < 1e-6  # the exact end is the higher one
    assert len(width.detail.inputs) == 2 and width.side == "upper"
    report = Report(tuple(isometric), {})
    assert report.check() == ()
    assert Report.from_json(report.to_json()).rows[0] == isometric[0]


def test_balls_are_worse_than_half_spaces(isometric):
    by = {r.detail.witness: r.value for r in isometric if r.quantity == Quantity.BOUND}
    assert by["ball"] < by["half-space, principal component"]
    assert by["complement of a ball"] < by["half-space, principal component"]


def test_a_wrong_upper_end_is_refused(isometric):
    wrong = upper(TRUTH - 0.03)
    with pytest.raises(ValueError, match="exceeds"):
        Report((*isometric, wrong), {}).check()
    assert not brackets.widths(isometric, [upper(TRUTH, certified=False)])[0].certified
    assert brackets.widths(isometric, [upper(TRUTH, family="per_class"), upper(TRUTH, alpha=0.2)]) == []


def test_a_width_has_the_confidence_of_both_ends(isometric):
    """Two ends at 0.95 hold together with 0.9; an end that is exact costs nothing."""
    sampled = [r for r in isometric if r.quantity != Quantity.BOUND or r.detail.witness != "latent half-space"]
    u = upper(TRUTH + 0.1)
    at = dataclasses.replace(u, detail=dataclasses.replace(u.detail, confidence=0.95))
    for rows, end, confidence in ((sampled, at, 0.9), (sampled, u, 0.95), (isometric, at, 0.95), (isometric, u, 1.0)):
        assert brackets.widths(rows, [end])[0].detail.confidence == confidence


def test_only_epsilons_of_one_region_are_said_to_hold_at_once(key):
    """Two scores: one grows less at small epsilons, the other at large ones; each row names what it holds with."""
    wide = regions.half_spaces([[1.0, 0.0]], ("wide",), kind="half-space")
    steep = regions.half_spaces([[0.0, 1.0]], ("steep",), kind="half-space")
    both = regions.Scores((wide, steep), lambda v, x: jnp.concatenate([s(x) for s in v]), "half-space",
                          ("wide", "steep"))

    def draw(_, z, y):  # wide: a tenth of the images is far out; steep: a normal of scale 0.5
        return jnp.stack([jnp.where(z[0] > 1.2, 2.0, 0.3 * z[0]), 0.5 * z[1]]).reshape(1, 2, 1)

    g = Generator((), draw, 2, 1, (1, 2, 1))
    plan = brackets.BracketPlan((ALPHA,), (0.05, 1.0, 5.0), ("overall",), choice=2000, calibration=2000, samples=2000,
                                latent=0)
    rows = brackets.bracket(key, g, plan, witnesses=(both,))
    by = {r.epsilon: r.detail for r in rows if r.detail.witness == "half-space"}
    for e, d in by.items():
        shared = ", ".join(f"{o:g}" for o in by if by[o].region == d.region)
        assert f"epsilons that share a region, here {shared};" in d.assumptions, e
    assert len({d.region for d in by.values()}) == 2


def covered(rng, family: str, n: int) -> bool:
    """One repetition: class k's score is N(k, 1 + k) on its own class and far below on others."""
    p = np.array([0.5, 0.3, 0.2]) if family == "per_class" else np.ones(1)

    def sample():
        y = rng.choice(len(p), size=n, p=p)
        s = np.full((n, len(p)), -50.0)
        s[np.arange(n), y] = rng.normal(y, 1 + y)
        return s, y

    w = brackets.Witness("", "", tuple(range(len(p))))
    t = w.thresholds(*sample(), family, ALPHA, 0.025, p)
    found = brackets._measure(w, *sample(), t, EPSILON, 0.025, family, p)
    c = np.arange(len(p))
    risks, grown = (stats.norm.sf(t - e, loc=c, scale=1 + c) for e in (0.0, EPSILON))
    return bool((risks >= ALPHA).all() and p @ grown <= found["adversarial_risk"].high)


@pytest.mark.parametrize("family", brackets.FAMILIES)
def test_lower_ends_cover_the_truth_as_often_as_they_claim(family):
    rng = np.random.default_rng(5)
    hits = sum(covered(rng, family, 1500) for _ in range(1000))
    assert hits >= stats.binom.ppf(0.001, 1000, 0.95)
    assert hits < 1000  # and the interval is no wider than it must be


def test_each_class_pays_alpha(key):
    """The per-class family on two classes, each isometric: thresholds and risks of both, labels drawn unevenly."""
    g = affine.build(key=key, latent_dim=4, num_classes=2, image_shape=(3, 3, 1), singular_values=SCALE)
    plan = brackets.BracketPlan((ALPHA,), (EPSILON,), ("per_class",), choice=2000, latent=0, chunk=5000)
    rows = brackets.bracket(key, g, plan, priors=(0.8, 0.2))
    for r in rows:
        assert len(r.detail.class_risks) == 2
        assert all(c.high > ALPHA and c.value > 0.95 * ALPHA for c in r.detail.class_risks)
        assert r.value < 1 - ALPHA


def test_margins_hold_what_brute_force_finds():
    """No image within epsilon of E has a margin below -epsilon, whatever the classes of the two."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(3000, 2))
    y = rng.integers(2, size=3000)
    directions = np.array([[1.0, 0.0], [0.6, 0.8]])
    w = brackets.Witness("", "", (0, 1))
    s, t = x @ directions.T, np.array([1.0, 1.4])
    inside = w.inside(s, y, t)
    near = np.linalg.norm(x[:, None] - x[inside][None], axis=2).min(1) <= EPSILON
    assert inside.sum() > 50
    assert (w.margins(s, t)[near] >= -EPSILON).all()
    assert not near[w.margins(s, t) < -EPSILON].any()


def test_no_attack_leaves_the_certified_region(key):
    """Gradient ascent on h from outside {h >= t - epsilon} does not reach {h >= t}."""
    net = one_lipschitz.export(one_lipschitz.init(key, 16, (16, 8)))
    s = regions.networks([net], ("h",))
    x = jax.random.normal(key, (400, 4, 4, 1))
    h = jit(jax.vmap(lambda v: s(v)[0]))
    t = float(np.quantile(h(x), 0.9))

    @jit
    @jax.vmap
    def attack(x):
        def step(_, moved):
            g = jax.grad(lambda v: s(v)[0])(moved)
            d = moved + 0.1 * g / jnp.linalg.norm(g) - x
            return x + d * jnp.minimum(1, EPSILON / jnp.linalg.norm(d))

        return jax.lax.fori_loop(0, 30, step, x)

    start, end = np.asarray(h(x)), np.asarray(h(attack(x)))
    reached = end >= t
    assert reached.sum() > (start >= t).sum()  # the attack works
    assert (start[reached] >= t - EPSILON - regions.SLACK).all()


def test_latent_attack_agrees_with_the_closed_form(key, monkeypatch):
    """The attack on an anisotropic affine generator, wrapped so that it is not recognised."""
    g = affine.build(key=key, latent_dim=4, image_shape=(3, 3, 1), singular_values=[0.6, 0.3, 0.2, 0.1])
    end, options = LowerEnd(alpha=ALPHA, family="overall"), {"epsilons": (EPSILON,), "priors": np.ones(1), "count": 200}
    exact = latent_regions.latent_rows(key, g, end, **options)[0]
    hidden = dataclasses.replace(g, module=lambda v, z, y: affine.apply(v, z, y))
    found = latent_regions.latent_rows(key, hidden, end, **options)[0]
    assert exact.certified
    assert not found.certified
    assert found.value == pytest.approx(exact.value, abs=0.01)
    assert found.value >= exact.value - 0.003  # an attack finds at most what there is


@pytest.mark.parametrize(("change", "message"), [
    ({"alphas": (0.0,)}, "alpha"), ({"confidence": 1.0}, "confidence"), ({"epsilons": (-1.0,)}, "epsilon"),
    ({"families": ("both",)}, "family"), ({"samples": 1}, "samples"),
])
def test_bad_input_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        brackets.BracketPlan(**{"choice": 50, "calibration": 50, **change})


def test_other_latents_are_refused(key):
    g = dataclasses.replace(affine.build(key=key, latent_dim=2, image_shape=(2, 2, 1)), latent="uniform")
    with pytest.raises(InputError, match="normal"):
        brackets.bracket(key, g, brackets.BracketPlan())
