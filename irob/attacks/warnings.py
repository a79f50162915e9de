"""Warnings of an evaluation that is weak or means nothing, each found by something that a sound one never shows.

    warnings = examine(key, classifier, x, y, threat=threat)      # probes on a few examples
    warnings += more_steps({10: few.success, 100: many.success})  # what results of attacks say together

code                        what was seen                                            why it matters
"zero_gradient"             a loss whose gradient in the image is exactly 0          attacks stand still
"nan_gradient"              one that is NaN or infinite                              attacks are thrown off
"random_output"             two runs, two outputs                                    attacks average (EOT) or are blind
"probabilities"             outputs in [0, 1] of sum 1 where logits were wanted      the softmax saturates: no gradient
"more_steps"                robust accuracy rises with the number of steps           the attack has not converged
"larger_epsilon"            it rises with epsilon                                    the larger ball holds the smaller
"black_box_beats_white_box" a random search breaks what gradients could not          gradients are masked
"step_above_epsilon"        a proposal leaves the threat set                         the attack answers another question
"transfer_beats_direct"     images made for another model do better                  gradients are masked

A warning is no verdict: the referee's results stand as they are, as upper bounds of robust accuracy.

Two attacks on the same examples are compared by the sign test: if neither were the stronger, the examples that only
one of them breaks would fall to either with probability 1/2.  A warning has a tail below 1 %.

References: Carlini et al., 2019, https://arxiv.org/abs/1902.06705; Athalye et al., 2018,
https://arxiv.org/abs/1802.00420; Croce and Hein, 2020, https://arxiv.org/abs/2003.01690
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from irob import attacks
from irob.attacks import program
from irob.attacks.search.ascent import odds
from irob.core import batch, check, keys
from irob.core.compile import jit
from irob.core.threat import ImageThreat
from irob.core.types import Classifier

TAIL = 0.01  # of the sign test
SHARE = 0.002  # of the examples that a black box may break on its own before a warning
CHANGE = 1e-4  # relative difference of two outputs that float noise does not explain
RUNS = 5
COUNT = 32  # examples at a time


@dataclasses.dataclass(frozen=True)
class Warning:
    """What was seen on `count` of `of` examples.  code: of the table above.  message: one line for a reader."""

    code: str
    message: str
    count: int
    of: int


Warnings = tuple[Warning, ...]


def gradients(classifier: Classifier, x, y) -> Warnings:
    """"zero_gradient" and "nan_gradient" of log Pr[not y] / Pr[y] at the given images.

    Args:
        x: f[n,H,W,C] in [0,1].  y: i[n].

    >>> step = Classifier({}, lambda v, x: jnp.round(x.ravel()[:2]), 2)
    >>> [w.code for w in gradients(step, np.zeros((1, 2, 1, 1), np.float32), np.zeros(1, int))]
    ['zero_gradient']
    """
    slopes = batch.stream(lambda _, x, y: _slopes(classifier, x, y), x, y, chunk=COUNT).reshape(len(x), -1)
    broken = ~np.isfinite(slopes).all(1)
    zero = ~broken & ~slopes.any(1)
    return _counted("zero_gradient", zero, "the gradient is exactly 0: attacks by gradients stand still") + _counted(
        "nan_gradient", broken, "the gradient is NaN or infinite: attacks by gradients go astray"
    )


def random_output(classifier: Classifier, x) -> Warnings:
    """"random_output": the same compiled program, run again on the same images, gives other logits."""
    runs = np.stack([_logits(classifier, x) for _ in range(RUNS)])
    runs = runs / (np.linalg.norm(runs, axis=-1, keepdims=True) + 1e-10)
    changed = (np.abs(runs - runs[:1]).max((0, 2)) > CHANGE) | ~np.isfinite(runs).all((0, 2))
    changed &= np.isfinite(runs).any((0, 2))  # NaN every time is broken, not random
    return _counted("random_output", changed, "two runs differ: average gradients over them, and success as well")


def probabilities(classifier: Classifier, x) -> Warnings:
    """"probabilities": on all images the outputs lie in [0, 1] and sum to 1."""
    out = _logits(classifier, x)
    alike = (out >= -1e-5).all(1) & (out <= 1 + 1e-5).all(1) & (np.abs(out.sum(1) - 1) < 1e-5)
    message = "the outputs are probabilities: return logits, whose gradients do not saturate"
    return _counted("probabilities", alike, message) if alike.all() else ()


def more_steps(success: Mapping[int, Any]) -> Warnings:
    """"more_steps": an attack with more steps breaks fewer examples.  success: steps -> bool[n], same examples.

    >>> [w.count for w in more_steps({10: np.ones(20, bool), 100: np.arange(20) < 5})]
    [15]
    """
    return _rising("more_steps", success, "steps")


def larger_epsilon(success: Mapping[float, Any]) -> Warnings:
    """"larger_epsilon": an attack breaks fewer examples in a larger ball.  success: epsilon -> bool[n]."""
    return _rising("larger_epsilon", success, "epsilon")


def black_box_beats_white_box(black, white) -> Warnings:
    """"black_box_beats_white_box": more than 0.2 % of the examples are broken by a black box alone.

    Args:
        black: bool[n], success of an attack that reads logits only.
        white: bool[n], success of all attacks by gradients together.
    """
    black, white = _same(black, white)
    alone = black & ~white
    message = "only an attack without gradients succeeds: gradients may be masked"
    return _counted("black_box_beats_white_box", alone, message) if alone.mean() > SHARE else ()


def transfer_beats_direct(transferred, direct) -> Warnings:
    """"transfer_beats_direct": images made for another model break more than those made for this one; bool[n] each."""
    message = "images made for another model succeed where this model's own do not: gradients may be masked"
    return _beaten("transfer_beats_direct", transferred, direct, message)


def step_above_epsilon(threat: ImageThreat, x, x_adv) -> Warnings:
    """"step_above_epsilon": images that an attack proposes lie outside the ball or the box.

    Args:
        x: f[n,H,W,C].  x_adv: f[n,H,W,C] or f[n,r,H,W,C], before the referee projects.
    """
    x, x_adv = np.asarray(x, np.float32), np.asarray(x_adv, np.float32)
    if x_adv.ndim == x.ndim:
        x_adv = x_adv[:, None]
    inside = np.asarray(_inside(threat, x, x_adv))
    message = f"the attack proposes images outside {threat} or the box"
    return _counted("step_above_epsilon", ~inside, message + "; the referee projects them")


def examine(
    key, classifier: Classifier, x, y, *, threat: ImageThreat | None = None, attack=None, count: int = 32
) -> Warnings:
    """The probes that need a few examples only.

    Always: gradients, random output, probabilities.  With a threat: PGD with 10 and 100 steps and in twice the ball,
    and 200 queries of the square attack.  With an attack: whether its proposals lie in its own threat set.

    Args:
        key: typed key.
        x: f[n,H,W,C] in [0,1].  y: i[n].
        threat: what the evaluation will use.
        attack: from `attacks.build`, without need of a generator; minimum-norm attacks may look outside the ball.
        count: how many of the first examples are probed.

    Raises:
        InputError: see `attacks.run`.

    >>> sound = Classifier({}, lambda v, x: x.ravel() - 0.5, 2)
    >>> examine(jax.random.key(0), sound, np.full((2, 2, 1, 1), 0.4, np.float32), np.zeros(2, int))
    ()
    """
    keys.require(key)
    check.images(x, y, num_classes=classifier.num_classes)
    x = np.asarray(x, np.float32)[: check.integer("count", count, low=1)]
    y = np.asarray(y, np.int32)[: len(x)]
    found = gradients(classifier, x, y) + random_output(classifier, x) + probabilities(classifier, x)
    if threat is not None:
        double = threat.at(2 * threat.strength)

        def success(ball, name="pgd", **options):
            return attacks.run(attacks.build(name, ball, **options), key, classifier, x, y).success

        few, many, wide = success(threat, steps=10), success(threat, steps=100), success(double, steps=100)
        found += more_steps({10: few, 100: many})
        found += larger_epsilon({float(threat.strength): many, float(double.strength): wide})
        found += black_box_beats_white_box(success(threat, "square", steps=200), few | many)
    if attack is not None and not (attack.needs_generator or attack.minimum_norm):
        proposals = _proposals(attack, classifier, keys.for_examples(key, jnp.arange(len(x))), x, y)
        found += step_above_epsilon(attack.threat, x, proposals)
    return found


def _logits(classifier, x) -> np.ndarray:
    return batch.stream(lambda _, x: program.outputs(classifier, x), x, chunk=COUNT)


@jit
def _slopes(classifier, x, y):
    return jax.vmap(jax.grad(lambda x, y: odds(classifier(x), y)))(x, y)


@jit
def _inside(threat, x, x_adv):
    return jax.vmap(lambda x, r: jnp.all(jax.vmap(lambda v: threat.contains(x, v))(r)))(x, x_adv)


@jit
def _proposals(attack, classifier, key, x, y):
    return jax.vmap(lambda k, x, y: attack.perturb(k, classifier, x, y).x_adv)(key, x, y)


def _counted(code: str, which: np.ndarray, message: str) -> Warnings:
    count, of = int(which.sum()), len(which)
    return (Warning(code, f"{count} of {of} images: {message}", count, of),) if count else ()


def _same(a, b) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    if a.shape != b.shape or a.ndim != 1:
        raise check.InputError(f"successes: got shapes {a.shape} and {b.shape}, wanted one list of the same examples")
    return a, b


def _beaten(code: str, weak, strong, message: str) -> Warnings:
    """A warning if `weak`, which should not be the better attack, is so by the sign test."""
    weak, strong = _same(weak, strong)
    alone, other = weak & ~strong, strong & ~weak
    lost, gained = int(alone.sum()), int(other.sum())
    # P[at least `lost` of lost + gained fair coins]
    return _counted(code, alone, message) if lost and special.bdtrc(lost - 1, lost + gained, 0.5) < TAIL else ()


def _rising(code: str, success: Mapping, what: str) -> Warnings:
    """Every attack against the next one on the list, in rising order."""
    order = sorted(success)
    return tuple(
        warning
        for low, high in itertools.pairwise(order)
        for warning in _beaten(
            code,
            success[low],
            success[high],
            f"broken with {what} {low:g}, not with {high:g}: the attack does not find what is there",
        )
    )
