"""Tables 1 and 3, Figures 1 and 2, and one HTML page that shows them all."""

import dataclasses

from irob.core.check import InputError, number, writable_folder
from irob.core.config import option


@dataclasses.dataclass(frozen=True)
class Config:
    """Measures generator and classifiers, holds them against the limit of the generator, and writes the report."""

    preset: str = option("quick", "size of the report: quick (minutes), standard (about an hour), paper")
    out: str = option("out/report", "folder for report.html, report.json, tables, figures and unfinished pieces")
    generator: str = option("acgan_mnist", "shipped name or folder of the conditional generator, or "
                            "my.py:name of your own")
    unconditional: str = option("gan_mnist", "shipped name or folder of the unconditional generator to compare with")
    classifier: list[str] = option([], "shipped names or folders, or my.py:name of your own; default: those "
                                   "shipped for the data set")
    dataset: str = option("", "data set whose test images are classified, by name or as FILE.npz; default: the one "
                          "that --generator draws")
    resize: str = option("", "to 32x32 (BigGAN): area (default), nearest (as published) or bilinear")
    data_dir: str = option("", "folder of the data set's files, for real data")
    sections: list[str] = option([], "what to measure: label (label robustness, both sides), classifiers (Table 3), "
                                 "limits (error-region robustness), samples, constants (Tables 1, 2), or one's own "
                                 "package.module:build; default: all, of ImageNet10 without label and limits")
    alpha: float | None = option(None, "natural risk of the limits; default: the paper's, 0.015, for ImageNet10 0.15")
    confidence: float = option(0.95, "of every certified end of a limit")
    certified: str = option("lipgan_mnist", "a second generator for the limits, one whose constant is certified")
    assume_gaussian: bool = option(False, "take a generator of other codes for one of N(0, I) codes; recorded")
    seed: int = option(0, "seed of images, constants and attacks")
    memory: str = option("", "what may be filled, such as 8GiB; sets the chunks; default: what the device has")
    resume: bool = option(True, "use pieces that an earlier run with the same settings left in --out")


def main(config: Config) -> None:
    """Checks names and folder, computes, writes, and says where the page is."""
    from irob import data
    from irob.core import keys, memory, published
    from irob.evaluation import users
    from irob.evaluation.section import ReportPlan
    from irob.evaluation.verbs import attack, report
    from irob.report import files, sections, text

    memory.parse(config.memory or "1")
    keys.from_seed(config.seed)
    if config.dataset:
        data.takes(config.dataset)
    dataset = config.dataset or attack.drawn("", config.generator)[0]
    chosen = sections.named(config.sections) if config.sections else sections.default(dataset)
    alpha = published.settings(dataset).alpha if config.alpha is None else config.alpha
    for name, value in (("alpha", alpha), ("confidence", config.confidence)):
        if not 0 < number(name, value) < 1:
            raise InputError(f"{name}: got {value:g}, wanted a number in (0, 1)")
    # The default ones to compare with are of generated MNIST.
    others = {name: value if dataset == "mnist_gen" or value != vars(Config)[name] else ""
              for name in ("unconditional", "certified") for value in [vars(config)[name]]}
    plan = ReportPlan(
        chosen, config.preset, config.generator, dataset, tuple(users.once(config.classifier)), alpha=alpha,
        confidence=config.confidence, seed=config.seed, data_dir=config.data_dir, resize=config.resize,
        assume_gaussian=config.assume_gaussian, **others)
    folder = writable_folder(config.out)
    with memory.limited(config.memory):
        outcome = report.run(plan, folder=folder, resume=config.resume, shown=lambda part: files.page(folder, part))
    paths = files.write(folder, outcome)
    for block in outcome.blocks:
        if block.table and not block.part:
            print(text.render(block.table), end="\n\n")
    print("\n".join([*outcome.discoveries, *outcome.omitted]))
    print(f"{paths[-1]}")
