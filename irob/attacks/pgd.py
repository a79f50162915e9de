"""Projected gradient descent (Madry et al., 2018).

    x_{t+1} = project(x_t + step_size * d_t),   d_t = argmax_{|d| <= 1} d . grad loss(x_t)

With loss "ce" the attack ascends  s = log sum_{k != y} exp f_k - f_y.  Cross entropy is log(1 + e^s), so its gradient
is that of s times a positive number: the direction is the same, but where a confident classifier's softmax rounds to 1
the gradient of the cross entropy is exactly 0 in single precision, and that of s is not.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from irob.attacks.referee import margin
from irob.attacks.search.ascent import STARTS, AscentPlan, ascend, odds
from irob.core.check import InputError, integer, number, unknown
from irob.core.promises import Attack
from irob.core.threat import ImageThreat
from irob.core.types import Classifier, Proposal, value

REACH = 2.5  # all steps together, in radii, so that the whole ball can be reached
LOSSES = ("ce", "margin")
# The published evaluation: last of 100 steps of 0.5 from the clean point, gradient / (norm + 1e-32).
PROTOCOLS: dict[str, dict[str, Any]] = {
    "default": {"steps": 100, "step_size": None, "restarts": 1, "start": "random", "best": True, "loss": "ce"},
    "paper": {"steps": 100, "step_size": 0.5, "restarts": 1, "start": "zero", "best": False, "loss": "ce"},
}


@value("restarts", "start", "best", "loss", "protocol")
class PGD(Attack):
    """Projected gradient descent; `build` explains its fields.

    scaled: whether the step follows the radius; a leaf, so that both share a program.
    """

    threat: ImageThreat
    step_size: jax.Array | float
    steps: jax.Array | int
    restarts: int
    start: str
    best: bool
    loss: str
    protocol: str
    scaled: jax.Array | bool = False

    def at(self, strength: jax.Array | float) -> "PGD":
        """This attack at another radius, with the step that belongs to it."""
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
                goal = optax.softmax_cross_entropy_with_integer_labels(logits, y) if paper else odds(logits, y)
            return goal, margin(logits, y)

        def published(gradient):
            return gradient / (jnp.sqrt(jnp.sum(gradient**2)) + 1e-32)

        plan = AscentPlan(self.step_size, self.steps, self.start, best=self.best, kick=not paper)
        direction = published if paper and self.threat.norm == "l2" else None

        def once(r):
            return ascend(jax.random.fold_in(key, r), loss, x, self.threat, plan, direction=direction)

        return Proposal(jax.lax.map(once, jnp.arange(self.restarts)))


def build(
    threat: ImageThreat,
    *,
    protocol: str = "default",
    steps: int | None = None,
    step_size: float | None = None,
    restarts: int | None = None,
    start: str | None = None,
    best: bool | None = None,
    loss: str | None = None,
) -> PGD:
    """Projected gradient descent; an option that is None has the value of the protocol.

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
        o["step_size"] = REACH * threat.strength / o["steps"]
    else:
        number("step_size", o["step_size"], low=0.0, open_low=True)
    return PGD(threat=threat, protocol=protocol, scaled=scaled, **o)
