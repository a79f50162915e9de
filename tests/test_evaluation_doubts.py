"""Warnings of an evaluation: of a classifier, and of what attacks made of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from irob.core.types import Classifier, Dataset
from irob.evaluation.accuracy import attacked, doubts

KEY = jax.random.key(0)
X = np.asarray(jax.random.uniform(KEY, (40, 2, 2, 1)))
DATA = Dataset(X, np.zeros(40, np.int32), None, 2, (2, 2, 1), "toy")
SOUND = Classifier(jnp.eye(4)[:2], lambda w, x: w @ x.ravel(), 2, (2, 2, 1))


def outcome(attack, broken, black_boxes=(), **options):
    robust = np.ones((1, 2, 40), bool)
    robust[0, :, :broken] = False
    return attacked.Outcome(attacked.AttackPlan(attack, 40, **options), robust, np.zeros(0), black_boxes=black_boxes)


def codes(outcomes=(), classifier=SOUND):
    return [w.code for w in doubts.of(KEY, classifier, DATA, outcomes, epsilons=(0.1, 0.2))]


def test_a_sound_evaluation_is_not_doubted():
    assert codes([outcome("pgd", 20), outcome("square", 20, ("square",))]) == []


def test_a_classifier_of_steps_is_doubted():
    step = dataclasses.replace(SOUND, module=lambda w, x: jnp.round(4 * (w @ x.ravel())))
    assert "zero_gradient" in codes(classifier=step)


def test_a_black_box_that_wins_is_doubted():
    assert codes([outcome("pgd", 5), outcome("square", 20, ("square",))]) == ["black_box_beats_white_box"] * 2
    by = tuple({"clean": 0, "apgd_ce": 3, "square": count} for count in (0, 2))
    ensemble = dataclasses.replace(outcome("autoattack", 5, ("square",)), broken_by=by)
    found = doubts.of(KEY, SOUND, DATA, [ensemble], epsilons=(0.1, 0.2))
    assert [(w.code, w.count) for w in found] == [("black_box_beats_white_box", 2)]
    assert "autoattack at epsilon 0.2" in found[0].message


def test_a_larger_ball_that_breaks_less_is_doubted():
    weak = outcome("pgd", 20, monotone=False)
    weak.robust[0, 1, :15] = True
    assert codes([weak]) == ["larger_epsilon"]
