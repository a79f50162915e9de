"""How large a report is: one frozen value for each preset."""

import dataclasses
from typing import Any

from irob.core.check import unknown
from irob.evaluation.codes import Plan


@dataclasses.dataclass(frozen=True)
class Attack:
    """An attack by name, on so many images of each trial, with its options."""

    name: str
    images: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


PAPER = {"protocol": "paper"}  # of the in-distribution attack: the published procedure


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of every section.

    codes, neighbours, lipschitz_trials: of Algorithm 1, codes for each class and trial.  natural: images for natural
    accuracy.  attacks: with images for each trial; equal numbers are the same images, so that attacks can be held
    against each other.  chunk: images at a time; numbers of images are multiples of it, so that one program serves
    them all and nothing is filled up.  checkpoints: how many along training, with which images and attacks.
    certified: images that are certified.
    limits: codes of the limit from both sides.  fresh: samples that measure a witness.
    labels: images whose conflicts limit label robustness, at each of label_epsilons.  kept: images on which certified
    classifiers are counted.
    """

    codes: int
    neighbours: int
    lipschitz_trials: int
    natural: int
    trials: int
    attacks: tuple[Attack, ...]
    checkpoints: int
    checkpoint_natural: int
    checkpoint_attacks: tuple[Attack, ...]
    limits: Plan
    fresh: int
    labels: int
    kept: int
    certified: int = 0
    chunk: int | None = 50
    radius: float = 0.5
    delta: float = 0.001
    epsilons: tuple[float, ...] = (1.0, 2.0, 3.0)
    label_epsilons: tuple[float, ...] = (1.0, 2.0, 2.5, 3.0)
    norm: str = "l2"


PRESETS = {
    # Ten minutes on two cores, compilation included; too few codes for limits that hold with confidence.
    "quick": Preset(
        codes=20, neighbours=500, lipschitz_trials=1, natural=2000, trials=1,
        attacks=(Attack("pgd", 100, {"steps": 40}), Attack("autoattack", 10), Attack("manifold", 100)),
        checkpoints=2, checkpoint_natural=1000,
        checkpoint_attacks=(Attack("pgd", 50, {"steps": 40}), Attack("manifold", 50)),
        limits=Plan(sampled=50, ascent=300, certified=20, compared=3, pilot=3, neighbours=500), fresh=20_000,
        labels=10_000, kept=2000, certified=20),
    # A night on two cores.
    "standard": Preset(
        codes=100, neighbours=2000, lipschitz_trials=3, natural=10_000, trials=3,
        attacks=(Attack("pgd", 300, {"steps": 100}), Attack("autoattack", 300), Attack("in_distribution", 300, PAPER),
                 Attack("manifold", 300)),
        checkpoints=5, checkpoint_natural=5000,
        checkpoint_attacks=(Attack("pgd", 100, {"steps": 100}), Attack("manifold", 100)),
        limits=Plan(sampled=200, ascent=4000, certified=3000), fresh=200_000, labels=200_000, kept=20_000,
        certified=100),
    # Days on two cores, for accelerators.  The sizes of the paper: S = 1000, N = 2000, ten trials, 10,000 images.
    "paper": Preset(
        codes=1000, neighbours=2000, lipschitz_trials=10, natural=100_000, trials=10,
        attacks=(Attack("pgd", 10_000, {"steps": 100, "restarts": 2}), Attack("autoattack", 1000),
                 Attack("in_distribution", 1000, PAPER), Attack("manifold", 1000)),
        checkpoints=100, checkpoint_natural=10_000,
        checkpoint_attacks=(Attack("pgd", 2000, {"steps": 100}), Attack("manifold", 500)),
        limits=Plan(sampled=10_000, ascent=30_000, certified=10_000), fresh=1_000_000,
        labels=1_000_000, kept=1_000_000, certified=1000, chunk=None),
}


def preset(name: str) -> Preset:
    """The preset of that name; raises `InputError` with the nearest if there is none.

    >>> preset("quick").epsilons
    (1.0, 2.0, 3.0)
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]
