"""Tables 1 and 3, Figures 1 and 2, and one HTML page that shows them all."""

import dataclasses

from irob.core.check import writable_folder
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
    seed: int = option(0, "seed of images, constants and attacks")
    resume: bool = option(True, "use pieces that an earlier run with the same settings left in --out")


def main(config: Config) -> None:
    """Checks names and folder, computes, writes, and says where the page is."""
    from irob import data
    from irob.core import keys, weights
    from irob.evaluation import presets, report
    from irob.report import files, tables, text

    chosen = presets.preset(config.preset)
    data.takes(config.dataset)
    keys.from_seed(config.seed)
    if config.unconditional != Config.unconditional:  # the default one may be missing, one that was asked for may not
        weights.resolve(config.unconditional)
    folder = writable_folder(config.out)
    outcome = report.run(
        chosen, generator=config.generator, unconditional=config.unconditional, models=config.classifier,
        dataset=config.dataset, data_dir=config.data_dir, seed=config.seed, folder=folder / "pieces",
        resume=config.resume)
    paths = files.write(
        folder, outcome.report, generator=config.generator, pictures=outcome.pictures,
        discoveries=outcome.discoveries, omitted=outcome.omitted)
    for table in (tables.table1(outcome.report.rows, config.generator), tables.table3(outcome.report.rows)):
        if table:
            print(text.render(table), end="\n\n")
    print("\n".join([*outcome.discoveries, *outcome.omitted]))
    print(f"{paths[-1]}")
