"""Auto-PGD (Croce and Hein, 2020; l1: Croce and Hein, 2021): ascent that halves its own step and goes back to its best.

    z_t     = P(x_t + a_t d_t),                            d_t the direction of steepest ascent
    x_{t+1} = P(x_t + 3/4 (z_t - x_t) + 1/4 (x_t - x_{t-1})),   x_1 = z_0,   a_0 = 2 epsilon

At checkpoints (after 22, 41, 57, 70, 80, 87, 93, 99 of 100 steps) the step is halved, and the ascent goes on from the
best point with the gradient stored there, if
  (1) the loss rose in at most 3/4 of the steps since the last checkpoint, or
  (2) the step was not halved at the last checkpoint and the best loss has not changed since.

In the l1 ball a step goes to the k largest entries of the gradient, equally, and P is the projection onto the ball
within the box.  k follows the sparsity of the best point; stages at 3, 2, 1 epsilon take 30, 30, 40 % of the steps.

Losses, with z_(1) >= z_(2) >= ... the sorted logits:
  "ce"        log sum_{k != y} e^z_k - z_y; cross entropy is softplus of it, which changes neither the direction of a
              step nor the order of losses, but rounds to a flat 0 where the classifier is confident;
  "dlr"       -(z_y - max_{k != y} z_k) / (z_(1) - z_(3));
  "targeted"  -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), t the 2nd, 3rd, ... largest logit of the clean image.

One scan evaluates loss, margin and gradient once a step, the start included.  What an ascent proposes is its iterate of
largest margin: a misclassified one if it met any, and of those the one that rounding moves least.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.attacks.referee import margin
from irob.attacks.search.ascent import odds
from irob.core.check import integer
from irob.core.promises import Attack
from irob.core.threat import ImageThreat
from irob.core.types import Classifier, Proposal, value
from irob.math import balls

RISES = 0.75  # share of steps that must raise the loss
MOMENTUM = 0.25
TINY = 1e-12
CLASSES = {"ce": 2, "dlr": 3, "targeted": 4}  # that a loss needs
L1_STAGES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # radius / epsilon, share of the steps
L1_EVERY = 0.04  # share of a stage's steps between checkpoints
L1_SPARSER = 0.95  # the best point lost more than one coordinate in twenty: k is still falling
L1_SHARE, L1_SHRINK, L1_LEAST = 1.5, 1.5, 0.1


@value()
class Schedule:
    """What happens at each evaluation, [T] each.  The first evaluation of a stage is at its start.

    radius: of the ball, as a multiple of epsilon.  begin: a stage begins here.  end: it ends here.
    since: steps since the last checkpoint if there is one here, else 0.
    """

    radius: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    since: np.ndarray


def checkpoints(steps: int) -> list[int]:
    """The numbers of steps after which the progress is judged.

    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    gap, least, less = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    out: list[int] = []
    while (out[-1] if out else 0) + gap <= steps:
        out.append((out[-1] if out else 0) + gap)
        gap = max(gap - less, least)
    return out


def schedule(steps: int, norm: str) -> Schedule:
    """The schedule of one ascent: steps + 1 evaluations, and one more for each further stage.

    >>> schedule(10, "l2").since.tolist()
    [0, 0, 2, 1, 1, 1, 1, 1, 1, 1, 1]
    """
    stages = [(1.0, steps)]
    if norm == "l1" and steps >= 3:
        parts = [math.ceil(share * steps) for _, share in L1_STAGES[:-1]]
        parts.append(max(steps - sum(parts), 1))
        stages = [(radius, part) for (radius, _), part in zip(L1_STAGES, parts)]
    rows: list[tuple[float, bool, bool, int]] = []
    for radius, part in stages:
        every = max(int(L1_EVERY * part), 1)
        marks = list(range(every, part + 1, every)) if norm == "l1" else checkpoints(part)
        gaps = dict(zip(marks, np.diff([0, *marks])))
        rows += [(radius, t == 0, t == part, gaps.get(t, 0)) for t in range(part + 1)]
    kinds = (np.float32, bool, bool, np.int32)
    return Schedule(*(np.array(column, kind) for column, kind in zip(zip(*rows), kinds)))


@value()
class AscentState:
    """An ascent between two evaluations.  Lengths of a step are multiples of the stage's radius."""

    x: jax.Array
    x_before: jax.Array
    step: jax.Array
    # The best of this stage by loss, and the best of all by margin.
    x_best: jax.Array
    gradient_best: jax.Array
    loss_best: jax.Array
    x_kept: jax.Array
    margin_kept: jax.Array
    # Since the last checkpoint.
    loss_before: jax.Array
    rises: jax.Array
    halved: jax.Array
    loss_then: jax.Array
    # l1: coordinates of the best point that differ from x.
    moved: jax.Array


def dlr(logits: jax.Array, y: jax.Array) -> jax.Array:
    """The difference of logits ratio: positive where misclassified, indifferent to the scale of the logits.

    >>> round(float(dlr(jnp.array([1.0, 4.0, 2.0]), 1)), 3)
    -0.667
    """
    top = jax.lax.top_k(logits, 3)[0]
    return margin(logits, y) / (top[0] - top[2] + TINY)


def targeted(logits: jax.Array, y: jax.Array, target: jax.Array) -> jax.Array:
    """The difference of logits ratio towards one class: positive where its logit is above that of y.

    >>> round(float(targeted(jnp.array([0.0, 4.0, 2.0, 0.0]), 1, 2)), 3)  # -(4 - 2) / (4 - 0)
    -0.5
    """
    top = jax.lax.top_k(logits, 4)[0]
    return (logits[target] - logits[y]) / (top[0] - 0.5 * (top[2] + top[3]) + TINY)


def start(key: jax.Array, x: jax.Array, threat: ImageThreat) -> jax.Array:
    """A random point on the sphere, clipped to the box; in l1 noise projected onto the first stage's ball.

    >>> from irob import attacks
    >>> x = start(jax.random.key(0), jnp.full(4, 0.5), attacks.build("pgd").threat.at(0.1))  # an l2 ball
    >>> round(float(jnp.linalg.norm(x - 0.5)), 4)
    0.1
    """
    if threat.norm == "linf":
        t = jax.random.uniform(key, x.shape, x.dtype, -1.0, 1.0)
        t = t / jnp.max(jnp.abs(t))
    else:
        t = jax.random.normal(key, x.shape, x.dtype)
        t = threat.normalise(t) if threat.norm == "l2" else t / threat.strength
    return project(x, x + threat.strength * t, threat)


def project(x: jax.Array, x_adv: jax.Array, threat: ImageThreat) -> jax.Array:
    """Onto the threat set; in l1, where clipping to the box wastes much of the ball, the nearest point of both."""
    if threat.norm != "l1":
        return threat.project(x, x_adv)
    low, high = threat.bounds
    return jnp.clip(x + balls.project_l1_box(x_adv - x, threat.strength, low - x, high - x), low, high)


def sparse(gradient: jax.Array, moved: jax.Array) -> jax.Array:
    """The l1 step: equal moves, |d|_1 = 1, along the k largest entries of the gradient, k two thirds of `moved`.

    k is rounded down, so that it reaches 1; the published code rounds up, and from two coordinates never finds one.

    >>> sparse(jnp.array([0.5, -2.0, 1.0, 0.0]), jnp.array(3)).tolist()
    [0.0, -0.5, 0.5, 0.0]
    """
    sizes = jnp.sort(jnp.abs(gradient).ravel())
    k = jnp.maximum((moved / L1_SHARE).astype(jnp.int32), 1)
    signs = jnp.where(jnp.abs(gradient) >= sizes[gradient.size - k], jnp.sign(gradient), 0.0)
    return signs / jnp.maximum(jnp.sum(jnp.abs(signs)), 1.0)


def ascend(
    evaluate, x: jax.Array, x_start: jax.Array, threat: ImageThreat, steps: int, *, loss_before=0.0
) -> jax.Array:
    """One ascent from x_start in the threat set of x, for one example.

    Args:
        evaluate: x f[H,W,C] -> (loss f[], margin f[], gradient f[H,W,C]).
        x: f[H,W,C], the clean image.  x_start: f[H,W,C], in the first stage's ball.
        steps: moves.
        loss_before: what the loss after the first step is compared with.  The published code compares it with 0.

    Returns:
        f[H,W,C], the iterate of largest margin within epsilon.

    >>> from irob import attacks
    >>> def bowl(v):
    ...     return (*[-jnp.sum((v - 0.6) ** 2)] * 2, -2 * (v - 0.6))
    >>> ball = attacks.build("pgd").threat.at(0.2)
    >>> found = ascend(bowl, jnp.full(2, 0.5), jnp.array([0.45, 0.5]), ball, 20)
    >>> bool(jnp.allclose(found, 0.6, atol=1e-2))
    True
    """
    l1 = threat.norm == "l1"
    longest = 1.0 if l1 else 2.0

    def at(plan: Schedule) -> ImageThreat:
        radius: Any = plan.radius
        return threat.at(radius * threat.strength)

    def pick(condition, new, old):
        return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)

    def observe(s: AscentState, plan: Schedule):
        """The state with what is seen at s.x, and the gradient there."""
        loss, m, gradient = evaluate(s.x)
        # A stage's start is its best so far, whatever its loss is: NaN compares with nothing.
        better = plan.begin | (loss > s.loss_best)
        x_best, gradient_best, loss_best = pick(
            better, (s.x, gradient, loss), (s.x_best, s.gradient_best, s.loss_best))
        kept = (m > s.margin_kept) & (plan.radius <= 1)
        x_kept, margin_kept = pick(kept, (s.x, m), (s.x_kept, s.margin_kept))
        rises = s.rises + (loss > s.loss_before)
        s = dataclasses.replace(
            s, x_best=x_best, gradient_best=gradient_best, loss_best=loss_best, x_kept=x_kept, margin_kept=margin_kept,
            rises=jnp.where(plan.begin, 0, rises), loss_before=jnp.where(plan.begin, loss_before, loss),
            step=jnp.where(plan.begin, longest, s.step), halved=s.halved | plan.begin,
            loss_then=jnp.where(plan.begin, loss, s.loss_then))
        if l1:
            moved = jnp.sum(s.x != x).astype(s.moved.dtype)
            s = dataclasses.replace(s, moved=jnp.where(plan.begin, moved, s.moved))
        return s, gradient

    def judge(s: AscentState, plan: Schedule, gradient):
        """The state after a checkpoint, and the gradient to go on with."""
        if l1:
            moved = jnp.sum(s.x_best != x).astype(s.moved.dtype)
            back = moved < L1_SPARSER * s.moved
            step = jnp.where(back, longest, jnp.maximum(s.step / L1_SHRINK, L1_LEAST * longest))
            s = dataclasses.replace(s, moved=moved, step=step)
        else:
            back = (s.rises <= RISES * plan.since) | (~s.halved & (s.loss_then >= s.loss_best))
            s = dataclasses.replace(s, step=jnp.where(back, s.step / 2, s.step), halved=back, loss_then=s.loss_best)
        x_on, gradient = pick(back, (s.x_best, s.gradient_best), (s.x, gradient))
        return dataclasses.replace(s, x=x_on, rises=jnp.zeros_like(s.rises)), gradient

    def move(s: AscentState, plan: Schedule, gradient):
        """The next point.  x_before is the point before a return to the best, as published."""
        ball = at(plan)
        length = s.step * ball.strength
        if l1:
            there = project(x, s.x + length * sparse(gradient, s.moved), ball)
        else:
            momentum = jnp.where(plan.begin, 0.0, MOMENTUM)
            there = project(x, s.x + length * threat.normalise(gradient), ball)
            there = project(x, s.x + (1 - momentum) * (there - s.x) + momentum * (s.x - s.x_before), ball)
        return dataclasses.replace(s, x=there, x_before=s.x)

    def step(s: AscentState, plans):
        plan, following = plans
        s, gradient = observe(s, plan)
        s, gradient = jax.lax.cond(plan.since > 0, judge, lambda s, _, g: (s, g), s, plan, gradient)
        ahead = move(s, plan, gradient)
        if l1:
            onward = dataclasses.replace(s, x=project(x, s.x_best, at(following)))
            ahead = pick(plan.end, onward, ahead)
        return ahead, None

    plan = schedule(steps, threat.norm)
    following = jax.tree.map(lambda a: np.append(a[1:], a[-1:]), plan)
    low, zero = jnp.asarray(-jnp.inf, x.dtype), jnp.zeros((), x.dtype)
    s = AscentState(
        x=x_start, x_before=x_start, step=zero, x_best=x_start, gradient_best=jnp.zeros_like(x), loss_best=low,
        x_kept=x, margin_kept=low, loss_before=low, rises=jnp.zeros((), jnp.int32), halved=jnp.zeros((), bool),
        loss_then=low, moved=zero)
    s, _ = jax.lax.scan(step, s, (plan, following))
    return s.x_kept


@value("loss", "steps", "restarts", "targets", "eot", "runs")
class APGD(Attack):
    """Auto-PGD with one of three losses; `build` of apgd_ce, apgd_dlr and apgd_t explains its fields.

    Its ascents are numbered: number j is restart j mod restarts towards target j div restarts, with the key
    fold_in(key, j).  first: number of the first that `perturb` makes.  runs: how many.
    """

    threat: ImageThreat
    loss: str
    steps: int
    restarts: int
    targets: int
    eot: int
    first: jax.Array | float
    runs: int

    @property
    def least_classes(self) -> int:  # type: ignore[override]
        """The fewest classes for which the loss is defined."""
        return CLASSES[self.loss]

    def parts(self, num_classes: int) -> tuple["APGD", ...]:
        """One attack for each ascent, so that an ensemble can leave out what an earlier one broke."""
        total = self.restarts * min(self.targets, num_classes - 1)
        return tuple(dataclasses.replace(self, first=float(j), runs=1) for j in range(total))

    def perturb(self, key: jax.Array, classifier: Classifier, x: jax.Array, y: jax.Array, *, z=None) -> Proposal:
        """x: f[H,W,C], y: i[] -> x_adv f[runs,H,W,C]."""
        order = jnp.argsort(classifier(x), descending=True) if self.loss == "targeted" else None

        def once(j):
            j = j + jnp.asarray(self.first).astype(jnp.int32)

            def pair(x):
                logits = classifier(x)
                if order is None:
                    loss = (odds if self.loss == "ce" else dlr)(logits, y)
                else:  # the second largest first; beyond the last there are none, so the last once more
                    loss = targeted(logits, y, order[jnp.minimum(1 + j // self.restarts, len(order) - 1)])
                return loss, margin(logits, y)

            # Cross entropy is positive, so its first comparison with 0 always counts as a rise.
            return ascend(
                lambda x: averaged(pair, x, self.eot), x,
                start(jax.random.fold_in(key, j), x, first_ball(self.threat, self.steps)), self.threat, self.steps,
                loss_before=-jnp.inf if self.loss == "ce" else 0.0)

        return Proposal(jax.lax.map(once, jnp.arange(self.runs)))


def first_ball(threat: ImageThreat, steps: int) -> ImageThreat:
    """The ball of the first stage."""
    radius = float(schedule(steps, threat.norm).radius[0])
    return threat.at(radius * threat.strength)


def averaged(pair, x: jax.Array, times: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Loss, margin and gradient of pair: x -> (loss, margin), averaged over evaluations (for a randomised model)."""

    def once(x):
        (loss, m), gradient = jax.value_and_grad(pair, has_aux=True)(x)
        return loss, m, jnp.where(jnp.isfinite(gradient), gradient, 0.0)  # one NaN would end the ascent

    if times == 1:
        return once(x)
    # Nothing is added, but each evaluation depends on its number: the compiler may not take all for one and the same.
    _, out = jax.lax.scan(lambda _, i: (None, once(x + (i < 0))), None, jnp.arange(times))
    return jax.tree.map(lambda a: jnp.mean(a, axis=0), out)


def build(threat: ImageThreat, loss: str, *, steps: int, restarts: int, targets: int, eot: int) -> APGD:
    """The shared constructor of the three attacks.

    Args:
        loss: "ce", "dlr" or "targeted".
        steps: of one ascent.  restarts: ascents (for each target).  targets: classes to aim at, the likeliest first.
        eot: evaluations whose gradients are averaged at each step.

    Raises:
        InputError: a number out of range.
    """
    numbers = {"steps": steps, "restarts": restarts, "targets": targets, "eot": eot}
    n = {name: integer(name, number, low=1) for name, number in numbers.items()}
    return APGD(threat=threat, loss=loss, first=0.0, runs=n["restarts"] * n["targets"], **n)
