"""Auto-PGD as published, for one example in NumPy: every loss is kept in a list, and checkpoints read the list.

Written from the papers and a description of their code; nothing is shared with irob.
"""

import math

import numpy as np


def onto_l1_box(v, epsilon, low, high):
    """The nearest point to v of {|u|_1 <= epsilon, low <= u <= high}, from the breakpoints of its dual."""
    room = np.where(v > 0, high, -low)

    def shrunk(theta):
        return np.clip(np.abs(v) - theta, 0, room)

    if shrunk(0).sum() <= epsilon:
        return np.sign(v) * shrunk(0)
    points = np.unique(np.concatenate([[0.0], np.abs(v), np.maximum(np.abs(v) - room, 0)]))
    totals = np.array([shrunk(t).sum() for t in points])
    i = np.flatnonzero(totals > epsilon)[-1]  # between two breakpoints the total is linear
    slope = (totals[i + 1] - totals[i]) / (points[i + 1] - points[i])
    return np.sign(v) * shrunk(points[i] + (epsilon - totals[i]) / slope)


def project(x, x_adv, epsilon, norm):
    d = x_adv - x
    if norm == "l1":
        return x + onto_l1_box(d, epsilon, -x, 1 - x)
    if norm == "linf":
        d = np.clip(d, -epsilon, epsilon)
    else:
        d = d * min(1.0, epsilon / max(np.linalg.norm(d), 1e-12))
    return np.clip(x + d, 0, 1)


def apgd(evaluate, x, x_start, epsilon, norm, steps, quirk=0.0):
    """evaluate: x -> (loss, margin, gradient).  Returns (iterate of largest margin, best loss)."""
    if norm == "l1":
        few = math.ceil(0.3 * steps)
        x_now = x_start
        for times, n in ((3, few), (2, few), (1, steps - 2 * few)):
            x_now, best, kept = _sparse(evaluate, x, project(x, x_now, times * epsilon, norm), times * epsilon, n)
        return kept, best
    return _dense(evaluate, x, x_start, epsilon, norm, steps, quirk)


def _dense(evaluate, x, x_adv, epsilon, norm, steps, quirk):
    loss, margin, g = evaluate(x_adv)
    kept, kept_margin = x_adv, margin
    x_best, g_best, loss_best = x_adv, g, loss
    losses, bests = [], [loss]
    size, x_old = 2 * epsilon, x_adv
    k, counter, reduced, best_then = max(int(0.22 * steps), 1), 0, True, loss
    for i in range(steps):
        x_old, momentum = x_adv, x_adv - x_old
        direction = np.sign(g) if norm == "linf" else g / max(np.linalg.norm(g), 1e-30)
        z = project(x, x_adv + size * direction, epsilon, norm)
        a = 0.75 if i else 1.0
        x_adv = project(x, x_adv + a * (z - x_adv) + (1 - a) * momentum, epsilon, norm)
        loss, margin, g = evaluate(x_adv)
        if margin > kept_margin:
            kept, kept_margin = x_adv, margin
        losses.append(loss)
        if loss > loss_best:
            x_best, g_best, loss_best = x_adv, g, loss
        bests.append(loss_best)
        counter += 1
        if counter == k:
            rises = sum(losses[j] > (losses[j - 1] if j else quirk) for j in range(i - k + 1, i + 1))
            reduced = rises <= 0.75 * k or (not reduced and loss_best <= best_then)
            best_then = loss_best
            if reduced:
                size, x_adv, g = size / 2, x_best, g_best
            k, counter = max(k - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1)), 0
    return kept, loss_best


def _sparse(evaluate, x, x_adv, epsilon, steps):
    loss, margin, g = evaluate(x_adv)
    kept, kept_margin = x_adv, margin
    x_best, g_best, loss_best = x_adv, g, loss
    size = epsilon
    moved = np.count_nonzero(x_adv != x)
    every = max(int(0.04 * steps), 1)
    for i in range(1, steps + 1):
        k = max(int(moved / 1.5), 1)  # the published code rounds up
        signs = np.sign(g) * (np.abs(g) >= np.sort(np.abs(g))[-k])
        x_adv = project(x, x_adv + size * signs / max(np.abs(signs).sum(), 1), epsilon, "l1")
        loss, margin, g = evaluate(x_adv)
        if margin > kept_margin:
            kept, kept_margin = x_adv, margin
        if loss > loss_best:
            x_best, g_best, loss_best = x_adv, g, loss
        if i % every == 0:
            now = np.count_nonzero(x_best != x)
            if now / moved < 0.95:
                size, x_adv, g = epsilon, x_best, g_best
            else:
                size = max(size / 1.5, epsilon / 10)
            moved = now
    return x_best, loss_best, kept
