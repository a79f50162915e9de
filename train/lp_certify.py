"""LP-Certify training of a classifier: `python -m train.lp_certify --dataset mnist_gen`."""

import dataclasses
import pathlib
from typing import Any

from irob.core.check import integer, number
from irob.core.config import option, run
from irob.core.progress import say
from irob.training import door


@dataclasses.dataclass(frozen=True)
class Config(door.Common):
    """LP-Certify (Wong and Kolter, 2018): the cross entropy of a bound on the worst case in each image's ball."""

    classifier: str = option("lp_cnn", "architecture; layers that the dual bound knows, so no max-pooling")
    epochs: int = option(60, "passes over the data")
    batch_size: int = option(50, "images in a step")
    rule: str = option("adam", "rule of descent: adam or sgd")
    learning_rate: float | None = option(1e-3, "largest step of the rule")
    schedule: str = option("halving", "decay of the learning rate: halving (x 1/2, 1/4, 1/8 from 50, 67, 83 %% of the "
                           "epochs), trades, published, cosine, one_cycle, constant")
    norm: str = option("l2", "norm of the ball: l2 or linf")
    epsilon: float = option(2.0, "radius of the ball", unit="image units, pixels in [0,1]")
    first_epsilon: float = option(0.05, "radius at which its growth begins", unit="image units")
    epsilon_warmup: float = option(20.0, "passes over which the radius grows to full", unit="epochs")
    projections: int = option(50, "random vectors for the inner bounds; 0 for exact ones")
    final_radii: list[float] = option([1.0, 2.0, 3.0], "radii at which the end result is attacked and certified")
    cascade: int = option(1, "classifiers, each trained on what those before it do not certify")


def main(config: Config) -> None:
    """Trains and saves."""
    config = door.paper(config)
    integer("cascade", config.cascade, low=1)
    for radius in config.final_radii:
        number("final radii", radius, low=0, open_low=True)
    options: dict[str, Any] = {"projections": config.projections, "first_epsilon": config.first_epsilon}
    if config.cascade == 1:
        return door.work("lp_certify", config, **options)
    cascade(config, options)


def cascade(config: Config, options: dict[str, Any]) -> None:
    """Stage after stage in WORKDIR/<stage> and OUT/<stage>; an image belongs to the first that certifies it at all."""
    from irob import classifiers
    from irob.core.threat import LpBall
    from irob.training import lp_certify

    threat = LpBall(config.norm, config.epsilon)
    lp_certify.build(threat, **options)  # bad settings are found before the data are made
    workdir = pathlib.Path(config.workdir or "out/train/lp_certify")
    out = pathlib.Path(config.out or workdir / "classifier")
    train, test = door.loaded(config)
    right = 0
    whole, left = len(test), test
    for stage in range(1, config.cascade + 1):
        if len(train) < config.batch_size or not len(left):
            say(f"stage {stage}: {len(train)} training and {len(left)} test images are left, too few for it")
            break
        here = dataclasses.replace(config, workdir=str(workdir / str(stage)), out=str(out / str(stage)))
        door.work("lp_certify", here, data=[train, test], **options)
        trained = classifiers.load(here.out)
        proven, prediction = lp_certify.constant(trained, left, threat)
        right += int((proven & (prediction == left.y)).sum())
        left = lp_certify.select(left, ~proven)
        train = lp_certify.select(train, ~lp_certify.constant(trained, train, threat)[0])
        say(f"stage {stage}: certified accuracy of the cascade {right / whole:.4f} at epsilon {config.epsilon:g}; "
            f"{len(train)} training images are left")


if __name__ == "__main__":
    run(main, Config, prog="python -m train.lp_certify")
