"""Learns which codes two classes share: `python -m train.coupling --generator acgan_mnist --pairs 4-9 3-5`."""

import dataclasses
import pathlib

from irob.core.config import option


@dataclasses.dataclass(frozen=True)
class Config:
    """Orthogonal matrices that bring images of two classes within 2 epsilon, for `irob limit --coupling`."""

    generator: str = option("acgan_mnist", "generator: a shipped name or a folder")
    pairs: list[str] = option(["4-9", "3-5"], "pairs of classes that share a code, such as 4-9; a class once at most")
    epsilon: float = option(3.0, "radius of the l2 ball", unit="image units")
    softness: float = option(1.0, "width of the sigmoid that stands for a conflict", unit="image units")
    steps: int = option(300, "steps of Adam for each pair")
    batch_size: int = option(256, "fresh codes in a step")
    learning_rate: float = option(6e-3, "largest step of Adam")
    seed: int = option(0, "seed of the codes")
    out: str = option("out/train/coupling", "folder for the weights")


def main(config: Config) -> None:
    """Trains and saves."""
    import time

    import numpy as np

    from irob import generators
    from irob.core import check, keys, provenance, store, weights
    from irob.core.progress import say
    from irob.evaluation.limits import coupled
    from irob.training.models import coupling

    plan = coupling.Plan(config.epsilon, config.softness, config.steps, config.batch_size, config.learning_rate)
    pairs = [_pair(text) for text in config.pairs]
    seen = [c for pair in pairs for c in pair]
    if len(set(seen)) < len(seen):
        raise check.InputError(f"pairs: got {' '.join(config.pairs)}, wanted every class once at most")
    out, begin = check.writable_folder(config.out), time.monotonic()
    key, generator = keys.from_seed(config.seed), generators.load(config.generator)
    skew, leaders, figures = {}, {}, {}
    for leader, follower in pairs:
        name = f"{leader}-{follower}"
        w = coupling.train(keys.named(key, name), generator, leader, follower, plan, label=f"pair {name}")
        fresh = keys.named(key, f"figures {name}")
        before, after = (float(coupling.share(fresh, generator, leader, follower, v, [plan.epsilon])[0])
                         for v in (np.zeros_like(w), w))
        figures[name] = {"identity": round(before, 4), "learned": round(after, 4)}
        say(f"pair {name}: share of codes in conflict {before:.3f} with one code for both, {after:.3f} learned")
        skew[follower], leaders[follower] = np.asarray(w), leader
    coupled.coupling(skew, leaders, latent_dim=generator.latent_dim, num_classes=generator.components)
    recipe = {k: v for k, v in dataclasses.asdict(config).items() if k != "out"}
    recipe["generator"] = pathlib.Path(config.generator).name
    weights.save(out, {str(c): w for c, w in skew.items()}, {
        "kind": coupled.KIND, "leaders": {str(c): v for c, v in leaders.items()}, "share in conflict": figures,
        "generator_fingerprint": store.fingerprint(generator.variables),
        "recipe": {**recipe, "seconds": round(time.monotonic() - begin)},
        "provenance": provenance.provenance(seed=config.seed)})
    say(f"wrote {out}")


def _pair(text: str) -> tuple[int, int]:
    from irob.core.check import InputError

    parts = text.split("-")
    if len(parts) != 2 or not all(p.isdigit() for p in parts):
        raise InputError(f"pairs: got {text!r}, wanted two classes such as 4-9")
    return int(parts[0]), int(parts[1])
