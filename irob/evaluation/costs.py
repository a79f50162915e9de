"""Sizes of a report where images are dear: BigGAN-128 takes a third of a second an image on a CPU core, ACGAN half a
millisecond.  And where the paper's own sizes differ: Table 2 has 500 codes a class and 1,000 neighbours.
"""

import dataclasses
from typing import Any

from irob.evaluation.presets import Attack, Preset

# BigGAN lists no explicit layers, so nothing about it is certified from above.
UNCERTIFIED: dict[str, Any] = {"certified": 0, "compared": 0}
LIMITS: dict[str, dict[str, Any]] = {  # codes in the section "limits", which is left out unless it is asked for
    "quick": {"sampled": 10, "ascent": 10, "neighbours": 50, **UNCERTIFIED},
    "standard": {"sampled": 50, "ascent": 200, "neighbours": 1000, **UNCERTIFIED},
    "paper": {"sampled": 5000, "ascent": 10_000, "neighbours": 1000, **UNCERTIFIED},
}


def _inside(images: int, steps: int) -> Attack:
    """The search "metric", and the manifold attack, take the Jacobian, 120 derivatives; "adaptive" is Adam."""
    return Attack("in_distribution", images, {"search": "adaptive", "steps": steps})


IMAGENET10: dict[str, dict[str, Any]] = {
    # About an hour on two cores, classifiers included.
    "quick": {"codes": 5, "neighbours": 50, "natural": 500, "checkpoints": 0, "fresh": 2000, "chunk": 20,
              "attacks": (Attack("pgd", 100, {"steps": 40}), _inside(20, 40))},
    # A day on two cores, an hour on an accelerator.
    "standard": {"codes": 50, "neighbours": 500, "lipschitz_trials": 1, "natural": 5000, "checkpoints": 0,
                 "fresh": 20_000, "chunk": 60,
                 "attacks": (Attack("pgd", 300, {"steps": 100}), Attack("autoattack", 60), _inside(60, 100))},
    # Accelerators only.  The sizes of Table 2: S = 500, N = 1000.
    "paper": {"codes": 500, "neighbours": 1000, "natural": 10_000, "trials": 1, "fresh": 100_000},
}
SECTIONS = ("constants", "classifiers")


def fitted(preset: Preset, name: str, dataset: str) -> Preset:
    """The preset of this name as a data set can bear it.

    >>> from irob.evaluation.presets import PRESETS
    >>> p = fitted(PRESETS["paper"], "paper", "imagenet10_gen")
    >>> p.codes, p.neighbours, fitted(PRESETS["paper"], "paper", "mnist_gen").codes
    (500, 1000, 1000)
    """
    if dataset == "imagenet10_gen":
        limits = dataclasses.replace(preset.limits, **LIMITS[name])
        return dataclasses.replace(preset, limits=limits, certified=0, **IMAGENET10[name])
    if dataset == "cifar10_gen":
        return dataclasses.replace(preset, limits=dataclasses.replace(preset.limits, **UNCERTIFIED))
    return preset
