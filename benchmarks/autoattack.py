"""AutoAttack against the reference implementation in PyTorch, on the same images and exported weights.

Which images are robust is no matter of speed: this compares verdicts.  The reference is `pip install pyautoattack`, the
authors' code as a package.  Blocks of images are kept under --out, so that a run that was killed goes on.
"""

import dataclasses
import importlib
import io
import json
import pathlib
import time

import numpy as np
import torch

from benchmarks import common, twins
from irob import attacks, classifiers, data
from irob.core import check, keys
from irob.core.batch import Work
from irob.core.config import option, run
from irob.core.digest import fingerprint
from irob.core.provenance import provenance
from irob.core.threat import LpBall

NORMS = {"l1": "L1", "l2": "L2", "linf": "Linf"}
ATTACKS = ("irob", "reference", "pgd")


@dataclasses.dataclass(frozen=True)
class Config:
    """Compare AutoAttack with the reference implementation and with PGD-100 from 10 starts; writes JSON."""

    classifier: str = option("mnist_gen_adv", "shipped classifier, or a folder")
    dataset: str = option("mnist_gen", "data set whose test images are attacked")
    norm: str = option("l2", "l2, linf or l1")
    epsilon: float = option(1.5, "radius, image units")
    version: str = option("standard", "standard or plus")
    count: int = option(1000, "images")
    block: int = option(100, "images at a time")
    seed: int = option(0, "random seed")
    out: str = option("out/benchmarks", "folder for the JSON file and the finished blocks")


def reference():
    """The authors' class, or one line that says how to get it."""
    try:
        return importlib.import_module("pyautoattack").AutoAttack
    except ImportError:
        wanted = "wanted the reference implementation; pip install pyautoattack"
        raise check.InputError(f"pyautoattack: not installed, {wanted}") from None


def main(config: Config) -> None:
    """Prints the robust accuracy of all three after every block, and writes the last line's numbers."""
    common.begin(config)
    their = reference()
    f = classifiers.load(config.classifier)
    test = data.load(config.dataset, "test", seed=config.seed, count=config.count).take(config.count)
    threat = LpBall(config.norm, config.epsilon)
    twin = twins.classifier(f).requires_grad_(False)
    parity = float(np.abs(twin(twins.images(test.x[:8])).numpy() - np.stack([f(x) for x in test.x[:8]])).max())
    key = keys.from_seed(config.seed)
    ours = attacks.build("autoattack", threat, version=config.version)
    pgd = attacks.build("pgd", threat, restarts=10)

    def run_irob(x, y, s):
        return ~attacks.run(ours, key, f, x, y, work=Work(config.block, f"images {s}")).success

    def run_reference(x, y, s):
        attack = their(twin, eps=config.epsilon, norm=NORMS[config.norm], seed=config.seed, version=config.version)
        images, labels = twins.images(x), torch.from_numpy(y).long()
        x_adv, _ = attack.run_standard_evaluation(images, labels, batch_size=config.block)
        with torch.no_grad():
            return (twin(x_adv).argmax(1) == labels).numpy()

    def run_pgd(x, y, s):
        return ~attacks.run(pgd, key, f, x, y, work=Work(config.block)).success

    work = dict(zip(ATTACKS, (run_irob, run_reference, run_pgd)))
    robust: dict[str, list[np.ndarray]] = {name: [] for name in ATTACKS}
    seconds = dict.fromkeys(ATTACKS, 0.0)
    settings = json.dumps([fingerprint(f.variables), *dataclasses.astuple(config)[2:5], config.seed])
    record: dict = {}
    for s in range(0, len(test), config.block):
        part = test.take(slice(s, s + config.block))
        name = fingerprint((part.x, part.y, np.frombuffer(settings.encode(), np.uint8)))[:16]
        for attack, do in work.items():
            path = pathlib.Path(config.out) / "autoattack" / f"{attack}-{name}.npz"
            if not path.exists():
                begin, out = time.perf_counter(), io.BytesIO()
                flags = do(part.x, part.y.astype(np.int32), s)
                np.savez(out, robust=flags, seconds=time.perf_counter() - begin)
                check.write_atomically(path, out.getvalue())
            with np.load(path) as found:
                robust[attack].append(found["robust"])
                seconds[attack] += float(found["seconds"])
        record = summary({k: np.concatenate(v) for k, v in robust.items()}, seconds)
        print(f"{config.classifier} {config.norm} {config.epsilon:g}: {json.dumps(record)}", flush=True)
    record |= {"largest_difference_of_logits": parity, "settings": dataclasses.asdict(config),
               "provenance": provenance(seed=config.seed, torch=torch.__version__)}
    path = pathlib.Path(config.out) / f"autoattack-{pathlib.Path(config.classifier).name}-{config.norm}.json"
    check.write_atomically(path, json.dumps(record, indent=2) + "\n")
    print(f"written to {path}")


def summary(robust: dict[str, np.ndarray], seconds: dict[str, float]) -> dict:
    """Robust accuracies, their difference in points, and on how many images the verdicts differ."""
    accuracy = {k: float(v.mean()) for k, v in robust.items()}
    return {
        "images": len(robust["irob"]),
        "robust": accuracy,
        "points_above_reference": round(100 * (accuracy["irob"] - accuracy["reference"]), 3),
        "only_irob_broke": int(np.sum(~robust["irob"] & robust["reference"])),
        "only_reference_broke": int(np.sum(robust["irob"] & ~robust["reference"])),
        "only_pgd_broke": int(np.sum(robust["irob"] & ~robust["pgd"])),
        "seconds": {k: round(v, 1) for k, v in seconds.items()},
    }


if __name__ == "__main__":
    run(main, Config, prog="python -m benchmarks.autoattack")
