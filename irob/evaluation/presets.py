"""How large a report is: one frozen value for each preset."""

import dataclasses
from typing import Any

from irob.core.check import unknown
from irob.evaluation.codes import Plan


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of every section.

    codes, neighbours, lipschitz_trials: of Algorithm 1, codes for each class and trial.  natural: images for natural
    accuracy.  samples, inside: images for each trial of the unconstrained and of the in-distribution attack; equal
    numbers are the same images, so that the two can be held against each other.
    pgd, in_distribution: options of the attacks.  chunk: images at a time; sample sizes are multiples of it, so that
    one program serves them all and nothing is filled up.  checkpoints: how many along training, with which images.
    limits: codes of the limit from both sides.  fresh: samples that measure a witness.
    """

    codes: int
    neighbours: int
    lipschitz_trials: int
    natural: int
    trials: int
    samples: int
    inside: int
    pgd: dict[str, Any]
    in_distribution: dict[str, Any]
    checkpoints: int
    checkpoint_natural: int
    checkpoint_samples: int
    checkpoint_inside: int
    limits: Plan
    fresh: int
    chunk: int | None = 50
    radius: float = 0.5
    delta: float = 0.001
    epsilons: tuple[float, ...] = (1.0, 2.0, 3.0)
    norm: str = "l2"


PRESETS = {
    # Five minutes on two cores, compilation included; too few codes for limits that hold with confidence.
    "quick": Preset(
        codes=20, neighbours=500, lipschitz_trials=1, natural=2000, trials=1, samples=100, inside=100,
        pgd={"steps": 40}, in_distribution={"steps": 40}, checkpoints=2, checkpoint_natural=1000,
        checkpoint_samples=50, checkpoint_inside=50,
        limits=Plan(sampled=50, ascent=300, certified=20, compared=3, pilot=3, neighbours=500), fresh=20_000),
    # A few hours on two cores.
    "standard": Preset(
        codes=100, neighbours=2000, lipschitz_trials=3, natural=10_000, trials=3, samples=300, inside=300,
        pgd={"steps": 100}, in_distribution={"steps": 80}, checkpoints=5, checkpoint_natural=5000,
        checkpoint_samples=100, checkpoint_inside=100,
        limits=Plan(sampled=200, ascent=4000, certified=3000), fresh=200_000),
    # Days on two cores, for accelerators.  The sizes of the paper: S = 1000, N = 2000, ten trials, 10,000 images.
    "paper": Preset(
        codes=1000, neighbours=2000, lipschitz_trials=10, natural=100_000, trials=10, samples=10_000, inside=1000,
        pgd={"steps": 100, "restarts": 2}, in_distribution={"steps": 80, "restarts": 3}, checkpoints=100,
        checkpoint_natural=10_000, checkpoint_samples=2000, checkpoint_inside=500,
        limits=Plan(sampled=10_000, ascent=30_000, certified=10_000), fresh=1_000_000, chunk=None),
}


def preset(name: str) -> Preset:
    """The preset of that name; raises `InputError` with the nearest if there is none.

    >>> preset("quick").epsilons
    (1.0, 2.0, 3.0)
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]
