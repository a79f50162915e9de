"""Projected gradient descent (Madry et al., 2018): the attack, and the inner loop that training shares with it.

    x_{t+1} = project(x_t + step_size * d_t),   d_t = argmax_{|d| <= 1} d . grad loss(x_t)

With loss "ce" the attack ascends  s = log sum_{k != y} exp f_k - f_y.  Cross entropy is log(1 + e^s), so its gradient
is that of s times a positive number: the direction is the same, but where a confident classifier's softmax rounds to 1
the gradient of the cross entropy is exactly 0 in single precision, and that of s is not.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from irob.attacks.referee import margin
from irob.core.check import InputError, integer, number, unknown
from irob.core.promises import Attack
from irob.core.threat import LpBall
from irob.core.types import Classifier, Proposal, value

STARTS = ("zero", "noise", "random")
NOISE = 1e-3
REACH = 2.5  # all steps together, in radii, so that the whole ball can be reached
LOSSES = ("ce", "margin")
# The published evaluation: last of 100 steps of 0.5 from the clean point, gradient / (norm + 1e-32).
PROTOCOLS: dict[str, dict[str, Any]] = {
    "default": {"steps": 100, "step_size": None, "restarts": 1, "start": "random", "best": True, "loss": "ce"},
    "paper": {"steps": 100, "step_size": 0.5, "restarts": 1, "start": "zero", "best": False, "loss": "ce"},
}


def ascend(
    key: jax.Array,
    loss: Callable,
    x: jax.Array,
    threat: LpBall,
    *,
    steps: int,
    step_size: jax.Array | float,
    start: str = "zero",
    best: bool = False,
    scored: bool = False,
    kick: bool = False,
    direction: Callable | None = None,
) -> jax.Array:
    """Steepest ascent of `loss` in the threat set of one example; vmap it over a batch.

    Args:
        key: typed key of this example.
        loss: x f[H,W,C] -> f[], to be maximised; with `scored`, -> (f[], score f[]).
        x: f[H,W,C] in [0,1], centre of the ball.
        steps: gradient evaluations.  step_size: in image units.
        start: "zero" (x), "noise" (x + 0.001 N(0, I)) or "random" (uniform in the ball).
        best: return the iterate with the largest score (or loss), the start included, instead of the last one.
        kick: where the gradient is exactly 0, step in a fixed random direction instead of standing still.
        direction: gradient -> step of length 1; the threat's own by default.

    Returns:
        x_adv f[H,W,C], in the threat set.

    >>> import jax, jax.numpy as jnp
    >>> ball = LpBall("l2", 1.0)
    >>> ascend(jax.random.key(0), lambda x: x[0], jnp.zeros(2), ball, steps=4, step_size=0.5).tolist()
    [1.0, 0.0]
    """
    if start not in STARTS:
        raise unknown("start", start, STARTS)
    direction = direction or threat.normalise
    begin, stuck = jax.random.split(key)
    if start == "random":
        x0 = threat.sample(begin, x)
    elif start == "noise":
        x0 = threat.project(x, x + NOISE * jax.random.normal(begin, x.shape, x.dtype))
    else:
        x0 = x
    way_out = threat.normalise(jax.random.normal(stuck, x.shape, x.dtype)) if kick else jnp.zeros_like(x)

    def pair(x):
        out = loss(x)
        return out if scored else (out, out)

    def move(x_t, gradient):
        d = direction(gradient)
        if kick:
            d = jnp.where(jnp.any(gradient != 0), d, way_out)
        return threat.project(x, x_t + step_size * d)

    if not best:
        last, _ = jax.lax.scan(lambda x_t, _: (move(x_t, jax.grad(lambda v: pair(v)[0])(x_t)), None), x0, length=steps)
        return last

    def keep(x_t, score, x_best, score_best):
        better = score > score_best  # False for NaN
        return jnp.where(better, x_t, x_best), jnp.where(better, score, score_best)

    def step(carry, _):
        x_t, *record = carry
        (_, score), gradient = jax.value_and_grad(pair, has_aux=True)(x_t)
        return (move(x_t, gradient), *keep(x_t, score, *record)), None

    carry, _ = jax.lax.scan(step, (x0, x0, jnp.asarray(-jnp.inf, x.dtype)), length=steps)
    x_last, *record = carry
    return keep(x_last, pair(x_last)[1], *record)[0]


def odds(logits: jax.Array, y: jax.Array) -> jax.Array:
    """log of Pr[not y] / Pr[y] = logsumexp_{k != y} f_k - f_y; cross entropy is softplus of it.

    >>> import jax
    >>> f = jnp.array([1.0, 4.0, 2.0])
    >>> bool(jnp.isclose(jax.nn.softplus(odds(f, 1)), -jax.nn.log_softmax(f)[1]))
    True
    """
    others = jnp.where(jnp.arange(logits.shape[-1]) == y, -jnp.inf, logits)
    return jax.nn.logsumexp(others) - logits[y]


@value("steps", "restarts", "start", "best", "loss", "protocol")
class PGD(Attack):
    """The attack; see `build`.  scaled: whether the step follows the radius; a leaf, so that both share a program."""

    threat: LpBall
    step_size: jax.Array | float
    steps: int
    restarts: int
    start: str
    best: bool
    loss: str
    protocol: str
    scaled: jax.Array | bool = False

    def at(self, strength: jax.Array | float) -> "PGD":
        """At another radius, with the step that belongs to it."""
        step_size = REACH * strength / self.steps if self.scaled else self.step_size
        return dataclasses.replace(self, threat=self.threat.at(strength), step_size=step_size)

    def perturb(self, key: jax.Array, classifier: Classifier, x: jax.Array, y: jax.Array, *, z=None) -> Proposal:
        """x: f[H,W,C], y: i[] -> x_adv f[restarts,H,W,C].  Restart r has the key fold_in(key, r)."""
        paper = self.protocol == "paper"

        def loss(x_adv):
            logits = classifier(x_adv)
            if self.loss == "margin":
                goal = margin(logits, y)
            else:
                goal = -jax.nn.log_softmax(logits)[y] if paper else odds(logits, y)
            return goal, margin(logits, y)

        def published(gradient):
            return gradient / (jnp.sqrt(jnp.sum(gradient**2)) + 1e-32)

        def once(r):
            return ascend(
                jax.random.fold_in(key, r),
                loss,
                x,
                self.threat,
                steps=self.steps,
                step_size=self.step_size,
                start=self.start,
                best=self.best,
                scored=True,
                kick=not paper,
                direction=published if paper and self.threat.norm == "l2" else None,
            )

        return Proposal(jax.lax.map(once, jnp.arange(self.restarts)))


def build(
    threat: LpBall,
    *,
    protocol: str = "default",
    steps: int | None = None,
    step_size: float | None = None,
    restarts: int | None = None,
    start: str | None = None,
    best: bool | None = None,
    loss: str | None = None,
) -> PGD:
    """Projected gradient descent; what is None is the protocol's.

    Args:
        protocol: "default" (100 steps, random start, best iterate) or "paper" (100 steps of 0.5 from the clean point,
            last iterate, gradient / (norm + 1e-32), no restarts).
        steps: gradient steps for each restart.
        step_size: in image units; by default 2.5 epsilon / steps, so that the whole ball can be reached.
        restarts: independent starts; the referee keeps the best for each example.
        start: "zero", "noise" or "random".
        best: keep the iterate of largest margin instead of the last.
        loss: "ce" or "margin".

    Raises:
        InputError: unknown name, or a number out of range.

    Reference: Madry et al., 2018, https://arxiv.org/abs/1706.06083
    """
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    given = {"steps": steps, "step_size": step_size, "restarts": restarts, "start": start, "best": best, "loss": loss}
    o = PROTOCOLS[protocol] | {k: v for k, v in given.items() if v is not None}
    if o["start"] not in STARTS:
        raise unknown("start", o["start"], STARTS)
    if o["loss"] not in LOSSES:
        raise unknown("loss", o["loss"], LOSSES)
    o["steps"], o["restarts"] = integer("steps", o["steps"], low=1), integer("restarts", o["restarts"], low=1)
    if o["restarts"] > 1 and o["start"] == "zero":
        raise InputError('restarts: got more than one with start "zero", which repeats itself; use start="random"')
    scaled = o["step_size"] is None
    if scaled:
        o["step_size"] = REACH * threat.epsilon / o["steps"]
    else:
        number("step_size", o["step_size"], low=0.0, open_low=True)
    return PGD(threat=threat, protocol=protocol, scaled=scaled, **o)
