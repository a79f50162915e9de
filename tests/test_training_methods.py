"""Methods of training against closed forms and an independent twin of TRADES."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import classifiers
from irob.core.check import InputError
from irob.core.threat import LpBall
from irob.training import schedule
from irob.training.method import mean_cross_entropy
from irob.training.methods import adv, standard, trades
from irob.training.source import Batch

# A linear two-class model far from the walls of the box, so that the ball alone constrains.
WEIGHT = 0.05 * jax.random.normal(jax.random.key(7), (12, 2))


def predict(x, weight=WEIGHT):
    return x.reshape(len(x), -1) @ weight


def images(n=16):
    x = 0.5 + 0.1 * jax.random.normal(jax.random.key(3), (n, 2, 3, 2))
    return Batch(x, jnp.arange(n) % 2, jnp.arange(n))


def linear(weight=WEIGHT):
    return classifiers.from_function(lambda w, x: x.ravel() @ w, weight, 2)


def margin(x, y, weight=WEIGHT):
    """f_y - f_other."""
    d = (weight[:, 1] - weight[:, 0]) * (2 * y - 1)[:, None]
    return (x.reshape(len(x), -1) * d).sum(1)


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1)])
def test_adversarial_loss_of_a_linear_model_is_closed_form(key, norm, dual):
    """max over the ball of log(1 + e^-m) = log(1 + e^(-m + epsilon |w|_*))."""
    batch = images()
    x, y = batch.x, batch.y
    epsilon = 0.2 if norm == "l2" else 0.05
    method = adv.build(LpBall(norm, epsilon), steps=3, step_size=2 * epsilon)
    x_adv = method.perturb(key, linear(), batch)
    w = np.linalg.norm(WEIGHT[:, 1] - WEIGHT[:, 0], ord=dual)
    wanted = np.log1p(np.exp(-margin(x, y) + epsilon * w)).mean()
    np.testing.assert_allclose(method.loss(predict, batch, x_adv), wanted, rtol=1e-5)


def test_training_by_pgd_is_training_by_the_closed_form(key):
    batch = images()
    x, y = batch.x, batch.y
    epsilon = 0.2
    method = adv.build(LpBall("l2", epsilon), steps=2, step_size=0.4)

    def by_pgd(weight, i):
        x_adv = method.perturb(jax.random.fold_in(key, i), linear(weight), batch)
        return method.loss(lambda v: predict(v, weight), batch, x_adv)

    def closed(weight, i):
        w = jnp.linalg.norm(weight[:, 1] - weight[:, 0])
        return jax.nn.softplus(-margin(x, y, weight) + epsilon * w).mean()

    ends = []
    for loss in (by_pgd, closed):
        gradient, weight = jax.jit(jax.grad(loss)), WEIGHT
        for i in range(30):
            weight = weight - 0.5 * gradient(weight, i)
        ends.append(weight)
    assert float(jnp.abs(ends[1] - WEIGHT).max()) > 0.05
    np.testing.assert_allclose(ends[0], ends[1], atol=2e-4)


def test_inner_maximiser_of_trades_on_a_linear_model(key):
    """delta* = -epsilon sign(m) w / |w|: towards and across the boundary, where the sigmoid is steep."""
    batch = images()
    x = batch.x
    epsilon = 0.3
    method = trades.build(LpBall("l2", epsilon), steps=40, step_size=0.05)
    delta = (method.perturb(key, linear(), batch) - x).reshape(len(x), -1)
    w = WEIGHT[:, 1] - WEIGHT[:, 0]
    m = margin(x, jnp.ones(len(x), int))
    best = -epsilon * jnp.sign(m)[:, None] * w / jnp.linalg.norm(w)
    far = np.abs(m) > 0.02  # closer to m = 0 both ends are almost equally good
    assert far.sum() > 5
    gain = jax.vmap(trades.divergence)
    got, wanted = (gain(predict(x), predict(x + d.reshape(x.shape))) for d in (delta, best))
    # ascent from noise may climb to the other end of the interval, which is a local maximum and nearly as high
    same = (jnp.sum(delta * best, axis=1) > 0) & far
    assert same.sum() >= 1
    np.testing.assert_array_less(got, wanted * 1.0001)
    np.testing.assert_array_less(0.999 * wanted[same], got[same])


def test_trades_loss_is_pytorchs():
    """The published criterion, batchmean KL with target p(x) and input log p(x'), on the same logits."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    clean, adversarial = rng.normal(size=(2, 5, 10)).astype(np.float32)
    y = np.arange(5)
    method = trades.build(LpBall("l2", 1.0), beta=6.0)

    def ours(clean, adversarial):
        logits = jnp.concatenate([clean, adversarial])
        return method.loss(lambda _: logits, Batch(clean, jnp.asarray(y), jnp.asarray(y)), adversarial)

    value, gradients = jax.value_and_grad(ours, (0, 1))(clean, adversarial)
    a, b = (torch.tensor(v, requires_grad=True) for v in (clean, adversarial))
    kl = torch.nn.KLDivLoss(reduction="sum")(b.log_softmax(1), a.softmax(1))
    loss = torch.nn.functional.cross_entropy(a, torch.tensor(y)) + 6.0 / 5 * kl
    loss.backward()
    np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
    # the gradient flows through both arguments of KL
    np.testing.assert_allclose(gradients[0], a.grad, atol=1e-5)
    np.testing.assert_allclose(gradients[1], b.grad, atol=1e-5)


def test_direction_of_the_divergence():
    f, g = jnp.array([2.0, 0.0]), jnp.array([0.0, 1.0])
    p, q = jax.nn.softmax(f), jax.nn.softmax(g)
    np.testing.assert_allclose(trades.divergence(f, g), (p * jnp.log(p / q)).sum(), rtol=1e-5)
    assert not np.isclose(trades.divergence(f, g), trades.divergence(g, f))


def test_beta_zero_is_standard_training():
    batch = images()
    got = trades.build(LpBall("l2", 1.0), beta=0.0).loss(predict, batch, batch.x + 0.1)
    np.testing.assert_allclose(got, standard.build().loss(predict, batch, batch.x), rtol=1e-6)


def test_loss_of_zero_logits_is_log_k():
    np.testing.assert_allclose(mean_cross_entropy(jnp.zeros((4, 10)), jnp.arange(4)), np.log(10), rtol=1e-6)


def test_published_schedule_multiplies_its_decays():
    rate = schedule.learning_rate("published", 0.05, 100, 10)
    got = [float(rate(10 * e)) for e in (0, 49, 50, 69, 70, 89, 90, 99)]
    np.testing.assert_allclose(got, [0.05, 0.05, 5e-3, 5e-3, 5e-5, 5e-5, 5e-8, 5e-8], rtol=1e-5)


def test_decays_scale_with_the_run():
    rate = schedule.learning_rate("trades", 1.0, 20, 3)
    np.testing.assert_allclose([float(rate(3 * e)) for e in (10, 11, 15, 18)], [1, 0.1, 0.01, 0.001], rtol=1e-5)


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_short_schedules_end_at_nothing(name):
    rate = schedule.learning_rate(name, 0.1, 5, 20)
    values = np.array([float(rate(i)) for i in range(100)])
    assert 0.095 < values.max() <= 0.1 + 1e-6
    assert values[-1] < 0.002 and values.min() >= 0


def test_bad_settings_are_one_line():
    ball = LpBall("l2", 1.0)
    for make, says in [
        (lambda: trades.build(ball, start="zero"), "no gradient"),
        (lambda: trades.build(ball, beta=-1), "beta"),
        (lambda: adv.build(ball, steps=0), "steps"),
        (lambda: adv.build(ball, step_size=float("nan")), "step_size"),
        (lambda: adv.build(ball, start="nois"), "did you mean 'noise'"),
        (lambda: schedule.learning_rate("cosin", 0.1, 1, 1), "did you mean 'cosine'"),
    ]:
        with pytest.raises(InputError, match=says):
            make()
