"""The numbers that the paper prints, to stand beside ours.

Reference: Zhang, Chen, Gu, Evans, "Understanding the Intrinsic Robustness of Image Distributions using
Conditional Generative Models", AISTATS 2020, https://arxiv.org/abs/2003.00378, Tables 1, 2 and 3, sections 5.2 and 5.3.
"""

import dataclasses

# Table 1: ACGAN on MNIST, classes 0 to 9; r = 0.5, delta = .001, S = 1000, N = 2000.  The published code draws
# directions from the positive orthant and measures outputs in [-1, 1].
LIPSCHITZ = (7.9, 8.6, 8.3, 7.8, 10.3, 11.0, 9.5, 7.8, 9.3, 10.9)
# Section 5.2: unconditional GAN on MNIST, "under the same parameter settings".
LIPSCHITZ_GAN = 27.01
# Table 3, generated MNIST, l2: {method: {epsilon: (accuracy, standard deviation over trials or None)}}.
ROBUST = {
    "LP-Certify": {0.0: (0.883, None), 1.0: (0.740, 0.004), 2.0: (0.511, 0.006), 3.0: (0.235, 0.003)},
    "Adv-Train": {0.0: (0.972, None), 1.0: (0.931, 0.002), 2.0: (0.835, 0.003), 3.0: (0.589, 0.004)},
    "TRADES": {0.0: (0.983, None), 1.0: (0.948, 0.002), 2.0: (0.818, 0.004), 3.0: (0.577, 0.004)},
}
BOUND = {1.0: 0.982, 2.0: 0.978, 3.0: 0.972}
ALPHA = 0.015  # "to reflect the best natural accuracy achieved by the considered robust classifiers"
RADIUS, DELTA = 0.5, 0.001


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What the paper prints about one of its two data sets, and how the published code measured it.

    table: of the constants.  lipschitz: of each class.  names: of the classes.  robust: as `ROBUST`.
    bound: its limit at each epsilon.  alpha: at this natural risk.  unconditional: constant of another generator.
    codes, neighbours: S and N.  scale: its units of images, as a multiple of [0,1]; 2 is [-1,1].
    """

    table: str
    lipschitz: tuple[float, ...]
    robust: dict[str, dict[float, tuple[float, float | None]]]
    bound: dict[float, float]
    alpha: float
    codes: int
    neighbours: int
    scale: float
    unconditional: float | None = None
    names: tuple[str, ...] = ()


BENCHMARKS = {
    "mnist_gen": Benchmark("Table 1", LIPSCHITZ, ROBUST, BOUND, ALPHA, 1000, 2000, 2.0, LIPSCHITZ_GAN),
    # BigGAN-128 at 32x32; the standard deviations, 0.3 to 0.5 points, are not printed one by one here.
    "imagenet10_gen": Benchmark(
        "Table 2", (13.1, 14.5, 11.7, 12.4, 10.4, 11.3, 9.4, 13.0, 13.1, 14.9),
        {"Adv-Train": {0.0: (0.821, None), 1.0: (0.678, None), 2.0: (0.471, None), 3.0: (0.234, None)},
         "TRADES": {0.0: (0.834, None), 1.0: (0.685, None), 2.0: (0.491, None), 3.0: (0.278, None)}},
        {1.0: 0.835, 2.0: 0.818, 3.0: 0.800}, 0.15, 500, 1000, 1.0,
        names=("airliner", "jeep", "goldfinch", "tabby cat", "hartebeest", "Maltese dog", "bullfrog", "sorrel",
               "pirate ship", "pickup")),
}


def of(dataset: str) -> Benchmark | None:
    """What the paper prints about a data set, if it does."""
    return BENCHMARKS.get(dataset)


def settings(dataset: str) -> Benchmark:
    """The published settings for a data set: those of generated MNIST where the paper has none.

    >>> settings("imagenet10_gen").codes, settings("mine").codes
    (500, 1000)
    """
    return BENCHMARKS.get(dataset, BENCHMARKS["mnist_gen"])


_PLAIN = {"standard": "Standard"}  # not in the paper
_NAMES = {"adv": "Adv-Train", "trades": "TRADES", "lp_certify": "LP-Certify"}


def method(model: str) -> str | None:
    """The paper's name for the training method of a model, by the end of the model's name.

    >>> method("mnist_gen_adv"), method("mnist_gen_trades@20"), method("mnist_gen_standard")
    ('Adv-Train', 'TRADES', None)
    """
    return _ending(model, _NAMES)


def short(model: str) -> str:
    """The field's name for the training method of a model, or the last part of the model's own name.

    >>> short("mnist_gen_standard"), short("mnist_gen_adv@4"), short("some/folder/net")
    ('Standard', 'Adv-Train', 'net')
    """
    return _ending(model, _NAMES | _PLAIN) or _base(model)


def _base(model: str) -> str:
    return model.partition("@")[0].rstrip("/").rpartition("/")[2]


def _ending(model: str, known: dict[str, str]) -> str | None:
    return next((printed for end, printed in known.items() if _base(model).endswith(end)), None)
