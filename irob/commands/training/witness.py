"""Trains a witness of intrinsic robustness: `python -m train.witness --generator acgan_mnist --alpha 0.015`."""

import dataclasses
import pathlib

from irob.core.config import option


@dataclasses.dataclass(frozen=True)
class Config:
    """A classifier that errs where errors cost least: a 1-Lipschitz score whose upper end grows as little as can be."""

    generator: str = option("acgan_mnist", "generator: a shipped name or a folder")
    family: str = option("overall", "risk at least alpha in total (overall) or in every class (per_class)")
    error_class: str = option("auto", "where errors lie, for the overall family: a class, all, or auto (short trials)")
    alpha: float = option(0.015, "risk of the witness")
    epsilon: list[float] = option([1.0, 2.0, 3.0], "radii of the l2 balls, weighted alike", unit="image units")
    widths: list[int] = option([128, 64], "hidden units, even numbers; 0 for none, which gives half-spaces")
    rows: int = option(60_000, "rows of the bank: images of the error class with one of another class")
    own: int = option(3, "images of the error class in a row")
    epochs: int = option(25, "passes over the bank")
    batch_size: int = option(512, "rows in a step")
    learning_rate: float = option(1e-2, "largest step of Adam")
    sharpness: float = option(0.3, "width of the sigmoid that stands for the indicator", unit="image units")
    workdir: str = option("", "folder for bank, checkpoints and log; default: out/train/witness_FAMILY-seedN")
    resume: bool = option(False, "go on from the last checkpoint in --workdir")
    seed: int = option(0, "seed of weights, order and codes")
    out: str = option("", "folder for the weights; default: WORKDIR/witness")


FOLDERS = ("workdir", "resume", "out")


def main(config: Config) -> None:
    """Trains and saves."""
    import time

    import jax
    import jax.numpy as jnp

    from irob import generators
    from irob.classifiers import one_lipschitz
    from irob.commands.training import workdir_of
    from irob.core import check, keys, provenance, store, weights
    from irob.core.progress import say
    from irob.training.models import witness

    plan = witness.Plan(
        config.alpha, tuple(config.epsilon), tuple(w for w in config.widths if w), config.rows, config.own,
        config.epochs, config.batch_size, config.learning_rate, config.sharpness, config.family)
    key, generator = keys.from_seed(config.seed), generators.load(config.generator)
    workdir = check.writable_folder(workdir_of(f"witness_{config.family}", config))
    out = check.writable_folder(config.out or workdir / "witness")
    classes, begin = generator.components, time.monotonic()
    chosen: list[int | None] = list(range(classes))
    if config.family == "overall":
        if config.error_class == "auto":
            chosen = [witness.choose_class(keys.named(key, "choose"), generator, plan, workdir=workdir)]
        elif config.error_class == "all":
            chosen = [None]
        elif config.error_class.isdigit() and int(config.error_class) < classes:
            chosen = [int(config.error_class)]
        else:
            raise check.InputError(
                f"error class: got {config.error_class!r}, wanted auto, all or a number in [0, {classes - 1}]")
    trained = []
    for c in chosen:
        found = witness.train(
            keys.named(key, f"class {c}"), generator, plan, error_class=c,
            workdir=workdir / f"class_{c}", resume=config.resume, label=f"witness, class {c}")
        trained.append(one_lipschitz.export(found))
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *trained)
    recipe = {k: v for k, v in dataclasses.asdict(config).items() if k not in FOLDERS}
    recipe["generator"] = pathlib.Path(config.generator).name
    constants = [float(one_lipschitz.constants(t)[0]) for t in trained]
    about = {
        "kind": "witness", "family": config.family, "error_classes": chosen, "alpha": config.alpha,
        "constants": constants,
        "generator_fingerprint": store.fingerprint(generator.variables),
        "recipe": {**recipe, "seconds": round(time.monotonic() - begin)},
        "provenance": provenance.provenance(seed=config.seed)}
    weights.save(out, stacked, about, half=True)
    say(f"wrote {out}: errors in class {', '.join(map(str, chosen))}; constants at most {max(constants):.5f}")


