"""Trains the shipped weights again, piece by piece: `python -m train.artifacts --recipe reduced --data-dir FOLDER`.

Each piece is a command that a person could type; it is resumed from its last checkpoint, so the whole may be stopped
at any time, by --minutes or by hand, and the same command goes on. A machine that is lent for ten minutes at a time
is used with `--minutes 9`.
"""

import dataclasses
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

from irob.core.check import InputError, number, unknown, writable_folder, write_atomically
from irob.core.config import option
from irob.core.progress import say

# What differs between the recipes; everything else is the doors' default, that is the paper's.
ROBUST = {
    "full": [],
    "reduced": ["--epochs", "5", "--steps", "5", "--step-size", "1.2", "--schedule", "one_cycle"],
}
# The reduced recipe's five long inner steps teach a defence against short attacks; part of an epoch with 20 short ones
# mends that: PGD-100 at epsilon 3 goes from 27 to 44 % (adversarial training).
MEND = {
    "full": [],
    "reduced": ["--count", "24000", "--epochs", "1", "--steps", "20", "--step-size", "0.5", "--learning-rate", "0.02",
                "--schedule", "cosine", "--checkpoint-every", "1"],
}
CERTIFIED = {
    "full": [],
    "reduced": ["--count", "50000", "--epochs", "12", "--epsilon-warmup", "5", "--projections", "20",
                "--schedule", "one_cycle", "--learning-rate", "0.002", "--evaluate-count", "200"],
}
ACGAN_EPOCHS = {"full": "25", "reduced": "8"}
GAN_EPOCHS = {"full": "25", "reduced": "3"}
STANDARD_EPOCHS = {"full": "20", "reduced": "3"}
# Smoothing asks its classifier a thousand times for each image: the reduced recipe takes the smallest network.
SMOOTH = {
    "full": [],
    "reduced": ["--classifier", "lp_cnn", "--epochs", "80", "--schedule", "one_cycle", "--evaluate-count", "100"],
}
# Certified classifiers, one an epsilon: epsilon to options.
LIPSCHITZ = {
    "1": ["--softness", "0.5", "--widths", "256", "256", "128"],
    "2": [],
    "3": ["--widths", "256", "256", "128"],
}
UNFINISHED = 75  # the exit status of "try again", as mail systems have it


@dataclasses.dataclass(frozen=True)
class Config:
    """Rebuilds every shipped weight; resumable, in pieces."""

    recipe: str = option("reduced", "reduced (hours on two cores) or full (the paper's; wants a GPU)")
    data_dir: str = option("data/mnist", "folder of MNIST's IDX files")
    out: str = option("irob/weights", "folder that gets one folder of weights a model")
    workdir: str = option("out/artifacts", "folder for checkpoints and logs")
    minutes: float = option(0.0, "stop after so many minutes, to be gone on with later; 0 means no limit", unit="min")
    only: list[str] = option([], "only these pieces")
    seed: int = option(0, "seed of every training")


def pieces(config: Config) -> dict[str, list[str]]:
    """Name to command, in the order in which they need each other."""

    def door(method: str, name: str, *options: str) -> list[str]:
        return ["-m", "irob", "train", method, *options, "--seed", str(config.seed), "--resume",
                "--workdir", f"{config.workdir}/{config.recipe}/{name}", "--out", f"{config.out}/{name}"]

    real = ["--dataset", "mnist", "--data-dir", config.data_dir]
    # Five points along training for Figure 2, whatever the length: all weights together are to stay under 40 MB.
    every = {"full": ("5", "20"), "reduced": ("1", "1")}[config.recipe]
    drawn = ["--dataset", "mnist_gen", "--generator", f"{config.out}/acgan_mnist",
             "--checkpoint-every", every[0], "--export-every", every[1]]
    standard = ["--epochs", STANDARD_EPOCHS[config.recipe]]

    def robust(method: str) -> dict[str, list[str]]:
        name, mend = f"mnist_gen_{method}", MEND[config.recipe]
        if not mend:
            return {name: door(method, name, *drawn, *ROBUST[config.recipe])}
        first = door(method, f"{name}_start", *drawn, *ROBUST[config.recipe])
        start = f"{config.workdir}/{config.recipe}/{name}_start/classifier"
        first[-1] = start
        return {f"{name}_start": first, name: door(method, name, *drawn[:4], "--init", start, *mend)}

    def witnesses(generator: str, epochs: tuple[str, str], width: list[str]) -> dict[str, list[str]]:
        """A network and half-spaces for each family; matched to the generator by its very weights."""
        of = ["--generator", f"{config.out}/{generator}"]
        each = ["--family", "per_class", "--rows", "16000", "--own", "5", "--batch-size", "250"]
        options = {
            "half_space": ["--widths", "0", "--rows", "20000", "--epochs", "15"],
            "overall": ["--rows", "120000", "--epochs", "30"],
            "per_class_half_space": [*each, "--widths", "0", "--epochs", epochs[0]],
            "per_class": [*each, "--widths", *width, "--epochs", epochs[1]],
        }
        return {f"witness_{generator}/{kind}": door("witness", f"witness_{generator}/{kind}", *of, *more)
                for kind, more in options.items()}

    return {
        "acgan_mnist": door("acgan", "acgan_mnist", *real, "--epochs", ACGAN_EPOCHS[config.recipe], "--half"),
        "gan_mnist": door("gan", "gan_mnist", *real, "--epochs", GAN_EPOCHS[config.recipe], "--half"),
        "mnist_standard": door("standard", "mnist_standard", *real, *standard, "--schedule", "one_cycle"),
        "mnist_gen_standard": door("standard", "mnist_gen_standard", *drawn, *standard, "--schedule", "cosine"),
        **robust("adv"), **robust("trades"),
        "mnist_gen_smooth": door("smooth", "mnist_gen_smooth", *drawn[:4], *SMOOTH[config.recipe]),
        "mnist_gen_lp_certify": door("lp_certify", "mnist_gen_lp_certify", *drawn[:4], "--checkpoint-every", every[0],
                                     *CERTIFIED[config.recipe]),
        **{f"mnist_gen_one_lipschitz_{e}": door("one_lipschitz", f"mnist_gen_one_lipschitz_{e}", "--generator",
                                                f"{config.out}/acgan_mnist", "--epsilon", e, *options)
           for e, options in LIPSCHITZ.items()},
        "lipgan_mnist": door("lipgan", "lipgan_mnist", "--data-dir", config.data_dir),
        **witnesses("acgan_mnist", ("32", "60"), ["64", "32"]), **witnesses("lipgan_mnist", ("32", "30"), ["64", "32"]),
        # Some minutes and no checkpoints: it begins anew where it was stopped.
        "coupling_acgan_mnist": ["-m", "irob", "train", "coupling", "--generator", f"{config.out}/acgan_mnist",
                                 "--seed", str(config.seed), "--out", f"{config.out}/coupling_acgan_mnist"],
    }


def main(config: Config) -> None:
    """Runs what is not done yet; exit status 75 when time ran out first."""
    if config.recipe not in ROBUST:
        raise unknown("recipe", config.recipe, ROBUST)
    number("minutes", config.minutes, low=0)
    writable_folder(config.out)
    marks = writable_folder(pathlib.Path(config.workdir) / config.recipe)
    todo = pieces(config)
    for name in config.only:
        if name not in todo:
            raise unknown("piece", name, todo)
    end = time.monotonic() + config.minutes * 60 if config.minutes else None
    for name, command in todo.items():
        mark = marks / f"{name.replace('/', '_')}.done"
        if (config.only and name not in config.only) or mark.exists():
            continue
        if "--data-dir" in command and not pathlib.Path(config.data_dir).is_dir():
            raise InputError(f"data folder {config.data_dir!r}: there is no such folder; wanted MNIST's IDX files")
        say(f"{name}: python {shlex.join(command)}")
        try:
            done = subprocess.run([sys.executable, *command], timeout=end and max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"{name}: time is up; the same command goes on from the last checkpoint")
            sys.exit(UNFINISHED)
        if done.returncode:
            raise InputError(f"{name}: its training ended with status {done.returncode}; see above")
        exports = marks / name / "exports"
        if exports.is_dir():
            to = pathlib.Path(config.out) / name.removesuffix("_start") / "checkpoints"
            shutil.copytree(exports, to, dirs_exist_ok=True)
        write_atomically(mark, shlex.join(command) + "\n")
    say(f"all weights of the {config.recipe} recipe stand in {config.out}")


