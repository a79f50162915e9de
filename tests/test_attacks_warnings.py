"""Every warning is given for a model or an attack that deserves it, and none for a sound one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import attacks
from irob.attacks import warnings
from irob.core.check import InputError
from irob.core.promises import Attack
from irob.core.threat import LpBall
from irob.core.types import Classifier, Proposal

SHAPE = (3, 4, 1)
W = np.asarray(jax.random.normal(jax.random.key(1), (3, 12)))
X = np.asarray(0.5 + 0.05 * jax.random.normal(jax.random.key(2), (40, *SHAPE)))
BALL = LpBall("l2", 0.05)


def model(function):
    return Classifier(jnp.asarray(W), function, 3, SHAPE)


def smooth(w, x):
    return w @ jnp.tanh(x.ravel() - 0.5)


def rounded(w, x):
    """Gradient masking by quantisation: piecewise constant logits."""
    return jnp.round(50 * smooth(w, x)) / 50


def wavy(w, x):
    """Gradients that shatter: ripples too low to change the class, steep enough to trap small steps."""
    return smooth(w, x) + 0.1 * jnp.stack([jnp.sin(400 * x).mean(), jnp.cos(400 * x).mean(), 0.0])


SOUND = model(smooth)
Y = np.asarray(jax.vmap(lambda x: jnp.argmax(SOUND(x)))(jnp.asarray(X)), np.int32)


def predicted(classifier, x):
    return np.asarray(jax.vmap(lambda v: jnp.argmax(classifier(v)))(jnp.asarray(x)), np.int32)


def codes(warnings):
    return [w.code for w in warnings]


def success(classifier, name="pgd", ball=BALL, y=Y, **options):
    return attacks.run(attacks.build(name, ball, **options), jax.random.key(0), classifier, X, y).success


def test_a_sound_evaluation_gives_no_warning(key):
    """All probes and the comparisons of results on a smooth model, at a radius that breaks about half."""
    attack = attacks.build("pgd", BALL, steps=10)
    assert warnings.examine(key, SOUND, X, Y, threat=BALL, attack=attack, count=40) == ()
    few, many, wide = success(SOUND, steps=10), success(SOUND, steps=100), success(SOUND, ball=LpBall("l2", 0.1))
    assert 0.2 < many.mean() < 0.9
    assert warnings.more_steps({10: few, 100: many}) == ()
    assert warnings.larger_epsilon({0.05: many, 0.1: wide}) == ()
    assert warnings.transfer_beats_direct(few, many) == ()


def test_zero_gradient(key):
    found = warnings.examine(key, model(rounded), X, Y, count=20)
    assert codes(found) == ["zero_gradient"]
    assert (found[0].count, found[0].of) == (20, 20)
    assert "20 of 20" in found[0].message


def test_zero_gradient_counts_the_images_that_show_it():
    """Logits that are cut off on some images only."""
    cut = model(lambda w, x: jnp.where(x.ravel()[0] > 0.5, jax.lax.stop_gradient(smooth(w, x)), smooth(w, x)))
    (warning,) = warnings.gradients(cut, X, Y)
    assert warning.count == np.sum(X[:, 0, 0, 0] > 0.5)


def test_a_confident_model_has_a_gradient():
    """Logits 200 apart: the softmax rounds to 1 and cross entropy is flat, the log odds are not."""
    loud = model(lambda w, x: 1e4 * smooth(w, x))
    assert not np.any(jax.grad(lambda x: -jax.nn.log_softmax(loud(x))[Y[0]])(jnp.asarray(X[0])))
    assert warnings.gradients(loud, X[:1], Y[:1]) == ()


def test_nan_gradient():
    """The root's slope at 0 times 0."""
    broken = model(lambda w, x: smooth(w, x) + jnp.sqrt(jnp.maximum(-x.sum(), 0.0)) * jnp.arange(3))
    (warning,) = warnings.gradients(broken, X, Y)
    assert (warning.code, warning.count) == ("nan_gradient", 40)


def test_random_output(key):
    rng = np.random.default_rng(0)

    def noise(x):
        return (0.01 * rng.normal(size=(*x.shape[:-3], 3))).astype(np.float32)

    def noisy(w, x):
        call = jax.ShapeDtypeStruct((3,), jnp.float32)
        return smooth(w, x) + jax.pure_callback(noise, call, jax.lax.stop_gradient(x), vmap_method="expand_dims")

    (warning,) = warnings.random_output(model(noisy), X)
    assert (warning.code, warning.of) == ("random_output", 40)
    assert warning.count > 30
    assert warnings.random_output(model(wavy), X) == ()


def test_probabilities():
    (warning,) = warnings.probabilities(model(lambda w, x: jax.nn.softmax(smooth(w, x))), X)
    assert (warning.code, warning.count) == ("probabilities", 40)
    assert warnings.probabilities(model(lambda w, x: jax.nn.sigmoid(smooth(w, x))), X) == ()


def test_more_steps():
    """Ripples hold 100 small steps back, and a few long ones leap over them."""
    classifier = model(wavy)
    y = predicted(classifier, X)
    ball = LpBall("l2", 0.2)
    found = {steps: success(classifier, ball=ball, y=y, steps=steps, start="zero") for steps in (3, 100)}
    (warning,) = warnings.more_steps(found)
    assert warning.code == "more_steps"
    assert warning.count == np.sum(found[3] & ~found[100])


def test_larger_epsilon():
    """Another class in a thin band only: long steps in a large ball leap over it."""

    def band(w, x):
        t = w[0] @ (x.ravel() - 0.5) / jnp.linalg.norm(w[0])
        return jnp.stack([jnp.exp(-(((t - 0.25) / 0.05) ** 2)) - 0.5, 0.0, -1.0])

    classifier = model(band)
    y = predicted(classifier, X)
    found = {e: success(classifier, ball=LpBall("l2", e), y=y, steps=10, start="zero") for e in (0.4, 40.0)}
    assert codes(warnings.larger_epsilon(found)) == ["larger_epsilon"]
    assert warnings.larger_epsilon(dict.fromkeys((0.4, 40.0), found[0.4])) == ()


def test_black_box_beats_white_box(key):
    classifier = model(rounded)
    y = predicted(classifier, X)
    white, black = success(classifier, y=y, steps=100), success(classifier, "square", y=y, steps=200)
    (warning,) = warnings.black_box_beats_white_box(black, white)
    assert warning.count == np.sum(black & ~white) > 0
    assert "black_box_beats_white_box" in codes(warnings.examine(key, classifier, X, y, threat=BALL, count=40))


def test_transfer_beats_direct():
    """Images made for the smooth model against the same model rounded."""
    classifier = model(rounded)
    y = predicted(classifier, X)
    images = attacks.run(attacks.build("pgd", BALL, steps=20), jax.random.key(0), SOUND, X, y).x_adv
    direct = success(classifier, y=y, steps=20, start="zero")
    (warning,) = warnings.transfer_beats_direct(predicted(classifier, images) != y, direct)
    assert warning.code == "transfer_beats_direct"
    assert warnings.transfer_beats_direct(direct, predicted(classifier, images) != y) == ()


@dataclasses.dataclass(frozen=True)
class Careless(Attack):
    """Forgets to project."""

    threat: LpBall

    def perturb(self, key, classifier, x, y, *, z=None):
        return Proposal((x + 0.5)[None])


jax.tree_util.register_dataclass(Careless, data_fields=["threat"], meta_fields=[])


def test_step_above_epsilon(key):
    (warning,) = warnings.examine(key, SOUND, X, Y, attack=Careless(BALL), count=10)
    assert (warning.code, warning.count, warning.of) == ("step_above_epsilon", 10, 10)
    assert not attacks.run(Careless(BALL), key, SOUND, X, Y).distance.max() > BALL.epsilon + 1e-5
    result = attacks.run(attacks.build("square", BALL, steps=10), key, SOUND, X, Y)
    assert warnings.step_above_epsilon(BALL, X, result.x_adv) == ()
    assert codes(warnings.step_above_epsilon(LpBall("l2", 9.0), X, X + 1)) == ["step_above_epsilon"]  # out of the box


def test_chance_is_no_warning():
    """One example lost and none won back of 40 is what two random starts give; so is 8 against 8."""
    one = np.arange(40) < 1
    assert warnings.more_steps({1: one, 2: ~one & False}) == ()
    assert warnings.more_steps({1: np.arange(40) < 8, 2: (np.arange(40) >= 8) & (np.arange(40) < 16)}) == ()


def test_bad_input(key):
    with pytest.raises(InputError, match="same examples"):
        warnings.more_steps({1: np.ones(3, bool), 2: np.ones(4, bool)})
    with pytest.raises(InputError, match="labels"):
        warnings.examine(key, SOUND, X, Y + 9)
