"""Certifies one classifier beside an attack on the same images: certified <= true <= attacked."""

import dataclasses

from irob.core.check import InputError, number, writable_folder, write_atomically
from irob.core.config import option, shared


@dataclasses.dataclass(frozen=True)
class Config:
    """Certified and attacked accuracy of one classifier over a list of epsilons; the truth lies between them.

    Both speak of label robustness: every x' within epsilon gets the label of x.
    """

    classifier: str = option("mnist_gen_smooth", "shipped name or folder of the classifier, or a model of your own: "
                             "package.module:factory, path/to/file.py:factory, robustbench:Linf/NAME")
    weights: str = option("", "file of the weights of a classifier robustbench:Linf/NAME")
    dataset: str = option("mnist_gen", "data set whose test images are certified")
    data_dir: str = option("", "folder of the data set's files, for real data")
    images: str = option("", "your own images: an .npz file of x and y, in the place of --dataset")
    generator: str = option("acgan_mnist", "shipped name or folder of the generator, for generated data")
    certifier: list[str] = option([], "such as crown,dual,smoothing; default: smoothing for a "
                                  "classifier that was trained for it, or the tightest that its layers allow")
    epsilon: list[str] = option(["0.5", "1", "2"], "radii of the ball",
                                unit="image units, [0,1] pixels")
    curve: bool = option(False, "search the largest certified radius of every image too, at the cost of a dozen "
                         "certificates; smoothing finds it anyway")
    norm: str = option("l2", "norm of the ball: l2, linf, l1")
    attack: str = option("pgd", "attack on the same images")
    steps: int | None = option(None, "steps of the attack; default: its own", unit="gradients")
    restarts: int | None = option(None, "independent starts of the attack; default: its own")
    samples: int = option(100, "images")
    sigma: float | None = option(None, "smoothing: noise; default: that of the classifier's training",
                                 unit="image units")
    copies: int | None = option(None, "smoothing: noisy copies of each image for the estimate; default: 1000")
    selection: int | None = option(None, "smoothing: noisy copies that choose the class; default: 100")
    confidence: float | None = option(None, "smoothing: confidence of each certificate; default: 0.999")
    convert: bool | None = option(None, "smoothing: certify linf or l1 through the l2 ball that holds their ball")
    seed: int = option(0, "seed of data, noise and attack")
    memory: str = option("", "what may be filled, such as 8GiB; sets the chunks; default: what the device has")
    out: str = option("out/certify", "folder for certify.json, certify.csv, examples.csv, the figure and certify.html, "
                      "and pieces of unfinished work")
    resume: bool = option(True, "use pieces that an earlier run with the same settings left in --out")


def main(config: Config) -> None:
    """Checks the folder, certifies, attacks, prints, writes."""
    from irob.core import memory

    memory.parse(config.memory or "1")
    radii = [number("epsilon", e, low=0.0, open_low=True) for e in config.epsilon]
    if not radii:
        raise InputError("epsilon: got none, wanted at least one radius")
    folder = writable_folder(config.out)
    from irob.evaluation.verbs import certify
    from irob.report import certificates, csv, figures, html, text

    with memory.limited(config.memory):
        asked = shared(config, certify.CertifyRequest, epsilon=radii, options={
            "sigma": config.sigma, "samples": config.copies, "selection": config.selection,
            "confidence": config.confidence, "convert": config.convert})
        report, each = certify.run(asked, folder=folder / "pieces", resume=config.resume)
    (block,) = certificates.blocks(report.rows)
    write_atomically(folder / "certify.json", report.to_json())
    write_atomically(folder / "certify.csv", csv.text(report.rows))
    write_atomically(folder / "examples.csv", certificates.examples(each))
    write_atomically(folder / "certify.png", figures.png(block.figure))
    write_atomically(folder / "certify.svg", figures.svg(block.figure))
    write_atomically(folder / "certify.html", html.page(
        report, [block], title="What is certain, and what an attack leaves", head=False, command="certify"))
    print(text.render(certificates.table(report.rows)))
