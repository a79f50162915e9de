"""Tables 1 and 3, Figures 1 and 2, and one HTML page that shows them all."""

import dataclasses

from irob.core.check import InputError, number, unknown, writable_folder
from irob.core.config import option


@dataclasses.dataclass(frozen=True)
class Config:
    """Measures generator and classifiers, holds them against the limit of the generator, and writes the report."""

    preset: str = option("quick", "size of the report: quick (minutes), standard (about an hour), paper")
    out: str = option("out/report", "folder for report.html, report.json, tables, figures and unfinished pieces")
    generator: str = option("acgan_mnist", "shipped name or folder of the conditional generator")
    unconditional: str = option("gan_mnist", "shipped name or folder of the unconditional generator to compare with")
    classifier: list[str] = option([], "shipped names or folders; default: those shipped for the data set")
    dataset: str = option("mnist_gen", "data set whose test images are classified")
    data_dir: str = option("", "folder of the data set's files, for real data")
    sections: list[str] = option(["constants", "classifiers", "limits"],
                                 "what to measure: constants (Table 1), classifiers (Table 3), limits (both sides)")
    alpha: float = option(0.015, "natural risk of the limits; the default is the paper's")
    confidence: float = option(0.95, "of every certified end of a limit")
    certified: str = option("lipgan_mnist", "a second generator for the limits, one whose constant is certified")
    assume_gaussian: bool = option(False, "take a generator of other codes for one of N(0, I) codes; recorded")
    seed: int = option(0, "seed of images, constants and attacks")
    resume: bool = option(True, "use pieces that an earlier run with the same settings left in --out")


def main(config: Config) -> None:
    """Checks names and folder, computes, writes, and says where the page is."""
    from irob import data
    from irob.core import keys, weights
    from irob.evaluation import presets, report
    from irob.report import comparison, files, limits, tables, text

    chosen = presets.preset(config.preset)
    data.takes(config.dataset)
    keys.from_seed(config.seed)
    for name in ("alpha", "confidence"):
        if not 0 < number(name, getattr(config, name)) < 1:
            raise InputError(f"{name}: got {getattr(config, name):g}, wanted a number in (0, 1)")
    if config.unconditional != Config.unconditional:  # a default may be missing, one that was asked for may not
        weights.resolve(config.unconditional)
    if config.certified and config.certified != Config.certified:
        weights.resolve(config.certified)
    for name in config.sections:
        if name not in report.SECTIONS:
            raise unknown("section", name, report.SECTIONS)
    folder = writable_folder(config.out)
    outcome = report.run(
        chosen, generator=config.generator, unconditional=config.unconditional, models=config.classifier,
        dataset=config.dataset, data_dir=config.data_dir, seed=config.seed, folder=folder / "pieces",
        resume=config.resume, sections=config.sections, alpha=config.alpha, confidence=config.confidence,
        certified=config.certified, assume_gaussian=config.assume_gaussian)
    paths = files.write(
        folder, outcome.report, generator=config.generator, pictures=outcome.pictures,
        discoveries=outcome.discoveries, omitted=outcome.omitted)
    rows = outcome.report.rows
    shown = [*(limits.ladder(rows, d) for d in limits.datasets(rows)), comparison.comparison_table(rows)]
    for table in (tables.table1(rows, config.generator), tables.table3(rows), *shown):
        if table:
            print(text.render(table), end="\n\n")
    print("\n".join([*outcome.discoveries, *outcome.omitted]))
    print(f"{paths[-1]}")
