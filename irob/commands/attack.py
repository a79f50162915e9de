"""Attacks classifiers, also your own, at several epsilons and prints their accuracy, with intervals."""

import dataclasses
import sys

from irob.core.check import writable_folder, write_atomically
from irob.core.config import option, shared

OPTIONS = ("steps", "step_size", "restarts", "version", "queries", "targets", "eot")


@dataclasses.dataclass(frozen=True)
class Config:
    """Attacked accuracy of classifiers over a list of epsilons: images that keep their label, so far as attacks find.

    An attack bounds label robustness from above: x is robust if every x' within epsilon gets the label of x.
    """

    classifier: list[str] = option(["mnist_gen_adv"], "shipped name or folder, name@epoch for a checkpoint; your own "
                                   "model as package.module:factory or path/to/file.py:factory; several are compared")
    weights: str = option("", "file of the weights of a classifier robustbench:Linf/NAME")
    dataset: str = option("", "data set whose test images are attacked; default: the one that --generator draws")
    data_dir: str = option("", "folder of the data set's files, for real data")
    images: str = option("", "your own images: an .npz file of x, y and optionally z, the codes "
                         "(normal ones) by which --generator drew these x, in the place of --dataset")
    generator: str = option("acgan_mnist", "shipped name or folder of the generator, or my.py:name of your own, "
                            "for generated data and codes")
    resize: str = option("", "to 32x32 (BigGAN): area (default), nearest (as published) or bilinear")
    attack: list[str] = option(["pgd"], "attacks, such as pgd, autoattack, manifold; NAME:paper for the published "
                               "procedure of in_distribution and pgd")
    epsilon: list[float] = option([1.0, 2.0, 3.0], "radii of the ball", unit="image units, [0,1] pixels")
    norm: str = option("l2", "norm of the ball: l2, linf, l1")
    protocol: str = option("default", "default, or paper: the published settings")
    steps: int | None = option(None, "steps of each attack; default: the attack's own", unit="gradients")
    step_size: float | None = option(None, "step; default: 2.5 epsilon / steps for pgd", unit="image units")
    restarts: int | None = option(None, "independent starts; default: the attack's own")
    version: str | None = option(None, "autoattack: standard, plus or rand")
    queries: int | None = option(None, "queries of the square attack within autoattack")
    targets: int | None = option(None, "classes that a targeted attack aims at")
    eot: int | None = option(None, "evaluations averaged at each step, for a randomised classifier")
    samples: int = option(200, "images for each trial")
    trials: int = option(1, "trials, each on images of its own; mean and standard deviation over them")
    examine: bool = option(True, "look for masked gradients, random outputs and other signs of a weak evaluation")
    seed: int = option(0, "seed of data and attacks")
    memory: str = option("", "what may be filled, such as 8GiB; sets the chunks; default: what the device has")
    out: str = option("out/attack", "folder for attack.json, .csv, .md, .tex, curves.png and pieces of unfinished work")
    resume: bool = option(True, "use pieces that an earlier run with the same settings left in --out")


def main(config: Config) -> None:
    """Checks the folder, attacks, prints, writes."""
    from irob.core import memory

    memory.parse(config.memory or "1")
    folder = writable_folder(config.out)
    from irob.evaluation.verbs import attack
    from irob.report import csv, curves, figures, latex, leaderboard, tables, text

    with memory.limited(config.memory):
        asked = shared(config, attack.AttackRequest, options={name: vars(config)[name] for name in OPTIONS})
        report = attack.run(asked, folder=folder / "pieces", resume=config.resume)
    board = leaderboard.table(report.rows, report.provenance["warnings"])
    write_atomically(folder / "attack.json", report.to_json())
    write_atomically(folder / "attack.csv", csv.text(report.rows))
    write_atomically(folder / "attack.md", leaderboard.markdown(board))
    write_atomically(folder / "attack.tex", latex.tabular(board))
    drawn = curves.figure(report.rows)
    if drawn is not None:
        write_atomically(folder / "curves.png", figures.png(drawn))
    for model in dict.fromkeys(r.model for r in report.rows):
        print(text.render(tables.attacked([r for r in report.rows if r.model == model])), end="\n\n")
    print(text.render(board))
    for sentence in report.provenance["discoveries"]:
        print(sentence, file=sys.stderr)
