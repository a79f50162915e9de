"""What bad input gets at every door: one line that names it, exit status 2, nothing written, no work begun."""

import contextlib
import importlib
import json
import shutil
import signal
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds

from irob import __main__ as irob_main
from irob import attacks, bounds, certify, classifiers, generators, lipschitz
from irob.core import weights
from irob.core.check import InputError
from irob.core.config import run
from irob.core.threat import LpBall

PATIENCE_S = 120  # on a busy machine; a door that has begun its work would take longer


def call(*argv: str) -> int:
    """The exit status of a door, called in this process: `irob VERB ...` or `train.METHOD ...`."""
    def begun(*_):
        pytest.fail(f"{argv[0]} has begun its work")

    def door() -> None:
        if argv[0] == "irob":
            irob_main.main()
        module = importlib.import_module(argv[0])
        run(module.main, module.Config, prog=f"python -m {argv[0]}", argv=argv[1:])

    before, sys.argv = sys.argv, ["irob", *argv[1:]]
    signal.signal(signal.SIGALRM, begun)
    signal.alarm(PATIENCE_S)
    try:
        with pytest.raises(SystemExit) as e:
            door()
    finally:
        signal.alarm(0)
        sys.argv = before
    return e.value.code


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to be in, so that default output folders are seen too; tfds finds nothing."""
    home = tmp_path / "home"
    (home / "folder").mkdir(parents=True)
    look = tfds.data_source  # tfds reads its folder when it is imported: the environment would come too late
    monkeypatch.setattr(tfds, "data_source", lambda *a, **k: look(*a, **{**k, "data_dir": k["data_dir"] or str(home)}))
    monkeypatch.chdir(home / "folder")
    return home / "folder"


def refuses(capsys, argv: list[str], *words: str) -> None:
    """The door says no in one line."""
    capsys.readouterr()
    assert call(*argv) == 2, argv
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "Traceback" not in err, err
    for word in words:
        assert word in err, err
    assert out == ""


CASES = [
    ("irob reprot", "did you mean 'report'"),
    ("irob train trads", "did you mean 'trades'"),
    ("irob report --preset quik", "did you mean 'quick'"),
    ("irob report --generator acgan_mnits", "did you mean 'acgan_mnist'"),
    ("irob report --unconditional ./gan", "./gan"),
    ("irob report --classifier mnist_gen_avd", "mnist_gen_adv"),
    ("irob report --classifier mnist_gen_adv@999", "no checkpoint '999'"),
    ("irob report --dataset mnist_gne", "did you mean 'mnist_gen'"),
    ("irob report --sections limit", "did you mean 'limits'"),
    ("irob report --alpha 0", "alpha: got 0"),
    ("irob report --alpha 1", "alpha: got 1"),
    ("irob report --confidence 1", "confidence: got 1"),
    ("irob report --confidence nan", "confidence: got nan"),
    ("irob report --certified lipgan_mnits", "did you mean 'lipgan_mnist'"),
    ("irob report --seed -1", "seed: got -1"),
    ("irob report --seed 1.5", "--seed"),
    ("irob report --colour red", "--colour"),
    ("irob estimate --generator acgan_mnits", "did you mean 'acgan_mnist'"),
    ("irob estimate --radius -1", "radius: got -1"),
    ("irob estimate --radius nan", "radius: got nan"),
    ("irob estimate --radius 0", "radius: got 0"),
    ("irob estimate --radius wide", "radius: got 'wide', wanted a number or auto"),
    ("irob estimate --radius auto --epsilon 0", "epsilon: got 0"),
    ("irob estimate --delta -0.1", "delta: got -0.1"),
    ("irob estimate --delta 1.5", "delta: got 1.5"),
    ("irob estimate --delta nan", "delta: got nan"),
    ("irob estimate --confidence 1.5", "confidence: got 1.5"),
    ("irob estimate --samples 0", "samples: got 0"),
    ("irob estimate --neighbours 0", "neighbours: got 0"),
    ("irob estimate --trials -1", "trials: got -1"),
    ("irob estimate --classes 11", "11"),
    ("irob estimate --protocol papr", "did you mean 'paper'"),
    ("irob attack --attack pdg", "did you mean 'pgd'"),
    ("irob attack --classifier mnist_gen_avd", "did you mean 'mnist_gen_adv'"),
    ("irob attack --generator acgan_mnits", "did you mean 'acgan_mnist'"),
    ("irob attack --dataset mnist_gne", "did you mean 'mnist_gen'"),
    ("irob attack --dataset mnist --data-dir absent", "absent"),
    ("irob attack --epsilon -1", "epsilon: got -1"),
    ("irob attack --epsilon 1 nan", "epsilon: got nan"),
    ("irob attack --epsilon inf", "epsilon: got inf"),
    ("irob attack --norm l3", "norm"),
    ("irob attack --steps 0", "steps: got 0"),
    ("irob attack --steps -5", "steps: got -5"),
    ("irob attack --step-size nan", "nan"),
    ("irob attack --restarts 0", "restarts: got 0"),
    ("irob attack --samples 0", "samples: got 0"),
    ("irob attack --trials 0", "trials: got 0"),
    ("irob attack --seed -3", "seed: got -3"),
    ("irob attack --protocol publishd", "protocol"),
    ("irob certify --certifier crwon", "unknown certifier"),
    ("irob certify --certifier smoothing,smothing", "did you mean 'smoothing'"),
    ("irob certify --classifier mnist_gen_smoth", "did you mean 'mnist_gen_smooth'"),
    ("irob certify --dataset mnist_gne", "did you mean 'mnist_gen'"),
    ("irob certify --attack pdg", "did you mean 'pgd'"),
    ("irob certify --epsilon 0", "epsilon: got 0"),
    ("irob certify --epsilon 0.5,-1", "epsilon: got -1"),
    ("irob certify --epsilon 0.5,wide", "epsilon: got 'wide'"),
    ("irob certify --epsilon ,", "epsilon: got none"),
    ("irob certify --epsilon inf", "epsilon: got inf"),
    ("irob certify --norm l3", "norm"),
    ("irob certify --norm linf", "smoothing: got norm linf, wanted l2"),
    ("irob certify --samples 0", "samples: got 0"),
    ("irob certify --sigma 0", "sigma: got 0"),
    ("irob certify --sigma nan", "sigma: got nan"),
    ("irob certify --copies 9", "noisy copies: got 9, too few for confidence 0.999; wanted at least 10"),
    ("irob certify --selection 0", "selection: got 0"),
    ("irob certify --confidence 1", "confidence: got 1"),
    ("irob certify --steps 0", "steps: got 0"),
    ("irob certify --certifier smoothing --classifier mnist_gen_adv", "give --sigma"),
    ("irob certify --seed -1", "seed: got -1"),
    ("train.smooth --sigma 0", "sigma: got 0"),
    ("train.smooth --sigma nan", "sigma: got nan"),
    *((f"irob {verb} --seed 99999999999999999999999999", "seed: got 99999999999999999999999999, wanted a whole number")
      for verb in ("report", "estimate", "attack", "certify", "sample", "limit")),
    *((f"irob {verb} --seed 4294967296", "seed: got 4294967296, wanted a whole number of at most 4294967295")
      for verb in ("sample", "attack")),
    *((f"irob {verb} --samples 99999999999999999999999999", "got 99999999999999999999999999, wanted a whole number of "
       "at most 2147483647") for verb in ("estimate", "attack", "certify", "sample", "limit")),
    ("irob attack --samples 2000000000 --trials 2000000000", "got 4000000000000000000, wanted a whole number"),
    *((f"irob {verb} --classifier my.py", "my.py: got a Python file, wanted the function in it too that makes the "
       "model, as in my.py:factory") for verb in ("attack", "certify", "report")),
    ("irob attack --epsilon 1,2,nan", "epsilon: got nan"),
    ("irob attack --epsilon 1,wide", "wide"),
    ("irob report --sections constants,limit", "did you mean 'limits'"),
    ("irob import acgna --source x", "did you mean 'acgan'"),
    ("irob import acgan", "--source"),
    ("irob import acgan --source absent.pt", "absent.pt"),
]
TRAIN = [
    ("--dataset mnist_gne", "did you mean 'mnist_gen'"),
    ("--dataset mnist --data-dir absent", "absent"),
    ("--dataset mnist", "--data-dir"),
    ("--epochs 0", "epochs: got 0"),
    ("--epochs -2", "epochs: got -2"),
    ("--batch-size 0", "got 0"),
    ("--learning-rate nan", "got nan"),
    ("--learning-rate -1", "got -1"),
    ("--checkpoint-every 0", "got 0"),
    ("--count 0", "count: got 0"),
    ("--seed -1", "seed: got -1"),
    ("--epochs many", "--epochs"),
]
CLASSIFY = [
    ("--classifier smal_cnn", "did you mean 'small_cnn'"),
    ("--init mnist_gen_avd", "did you mean 'mnist_gen_adv'"),
    ("--generator acgan_mnits", "did you mean 'acgan_mnist'"),
    ("--schedule cosin", "did you mean 'cosine'"),
    ("--epsilon nan", "epsilon: got nan"),
    ("--epsilon -3", "epsilon: got -3"),
    ("--norm l3", "norm"),
    ("--momentum nan", "got nan"),
    ("--weight-decay -1", "got -1"),
    ("--evaluate-count -1", "got -1"),
    ("--final-count -1", "got -1"),
]
INNER = [("--steps 0", "steps: got 0"), ("--step-size nan", "got nan"), ("--step-size -1", "got -1"),
         ("--start nois", "did you mean 'noise'"), ("--epsilon-warmup -1", "got -1"),
         ("--epsilon-warmup nan", "got nan")]
CASES += [(f"train.{m} --dataset synthetic --count 200 {a}" if "--dataset" not in a and "generator" not in a
           else f"train.{m} {a}", w)
          for m, cases in (("acgan", TRAIN), ("gan", TRAIN[1:3]), ("standard", TRAIN + CLASSIFY), ("adv", INNER),
                           ("trades", [*INNER[:1], ("--beta nan", "got nan"), ("--beta -1", "got -1")]))
          for a, w in cases]
CASES += [
    ("train.artifacts --recipe redcued", "did you mean 'reduced'"),
    ("train.artifacts --minutes nan", "minutes: got nan"),
    ("train.artifacts --only acgna_mnist", "acgan_mnist"),
    ("train.artifacts --data-dir absent", "absent"),
]


@pytest.mark.parametrize(("line", "words"), CASES, ids=lambda c: c.replace("/", "_"))
def test_options(here, capsys, line, words):
    refuses(capsys, line.split(), words)
    assert not any(here.iterdir()), list(here.rglob("*"))


WRITERS = ["irob report", "irob estimate", "irob attack", "irob sample", "train.standard --dataset synthetic",
           "train.acgan --dataset synthetic"]


@pytest.mark.parametrize("line", WRITERS)
def test_output_that_cannot_be_written(here, capsys, line):
    """A path below a regular file fails for every user, root included."""
    (here / "file").write_text("")
    refuses(capsys, [*line.split(), "--out", "file/below"], "file", "cannot be written")
    assert [p.name for p in here.iterdir() if p.name != "out"] == ["file"]
    assert not any(p.is_file() for p in here.rglob("*") if p.name != "file")


def damage(folder, how: str) -> None:
    """Spoils a folder of weights in one way."""
    file, config = folder / weights.WEIGHTS, folder / weights.CONFIG
    data = bytearray(file.read_bytes())
    if how == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif how == "corrupted":
        data[-100] ^= 1
        file.write_bytes(data)
    elif how == "no weights":
        file.unlink()
    elif how == "no config":
        config.unlink()
    elif how == "garbled":
        config.write_text(config.read_text()[:-30])
    elif how == "not an object":
        config.write_text("[]")
    elif how == "no checksum":
        config.write_text("{}")
    elif how == "other architecture":
        config.write_text(json.dumps({**json.loads(config.read_text()), "architecture": "resnet"}))


HOW = ["truncated", "corrupted", "no weights", "no config", "garbled", "not an object", "no checksum",
       "other architecture"]
READERS = {"acgan_mnist": ["irob sample --generator", "irob estimate --generator", "irob report --generator"],
           "mnist_gen_adv": ["irob attack --classifier", "irob report --classifier", "train.standard --init"]}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", READERS)
def test_damaged_weights(here, capsys, name, how):
    shutil.copytree(weights.SHIPPED / name, here / "model", ignore=shutil.ignore_patterns("checkpoints"))
    damage(here / "model", how)
    doors = READERS[name] if how in ("truncated", "no config") else READERS[name][:1]
    for line in doors:
        refuses(capsys, [*line.split(), "model"], "model")
        assert sorted(p.name for p in here.iterdir()) == ["model"], line


def test_a_generator_is_no_classifier(here, capsys):
    refuses(capsys, ["irob", "attack", "--classifier", "acgan_mnist"], "wanted a classifier")
    refuses(capsys, ["irob", "sample", "--generator", "mnist_gen_adv"], "wanted a generator")
    assert not any(here.iterdir())


def test_damaged_data(here, capsys):
    """Names of IDX files with nothing of the kind in them, at the doors that read real images."""
    folder = here.parent / "data"
    folder.mkdir()
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{part}-ubyte").write_bytes(bytes([0, 0, 8, 3 if "images" in part else 1]) + b"\0\0\0\1" * 2)
    real = ["--dataset", "mnist", "--data-dir", str(folder)]
    for door in (["train.acgan"], ["train.standard"], ["irob", "attack"]):
        refuses(capsys, [*door, *real], "ubyte", "bytes, wanted")
    assert not any(here.iterdir())


def test_images_and_codes_of_a_file_that_do_not_fit(here, capsys):
    """`irob attack --images`: another scale, NaN, codes of other images; before anything is attacked or written."""
    rng, file = np.random.default_rng(0), here.parent / "mine.npz"
    x, y = rng.uniform(size=(4, 28, 28, 1)).astype(np.float32), np.arange(4)
    z = rng.normal(size=(4, 100)).astype(np.float32)
    door = ["irob", "attack", "--images", str(file), "--attack", "manifold", "--samples", "4"]
    for content, words in (
            ({"x": 2 * x - 1}, "take (x + 1) / 2"), ({"x": 255 * x}, "divide by 255"),
            ({"x": np.where(x > 0.999, np.nan, x)}, "got NaN or infinity, wanted pixels in [0, 1]"),
            ({"x": x, "z": np.where(z > 2, np.nan, z)}, "codes z: got NaN or infinity in row"),
            ({"x": x, "z": z}, "codes z: got 4 of 4 whose images are not those given")):
        np.savez(file, y=y, **content)
        refuses(capsys, door, words)
        assert not any(here.iterdir())


@pytest.mark.filterwarnings("error::UserWarning")  # a warning would be a second line
@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 half an archive", b"\x80\x04cposix\nsystem\n."])
def test_damaged_imports(here, capsys, content):
    pytest.importorskip("torch")
    for name in ("w.pt", "w.npz", "w.safetensors", "w.bin"):
        (here / name).write_bytes(content)
        refuses(capsys, ["irob", "import", "acgan", "--source", name], name.split(".")[-1])
        (here / name).unlink()
    assert not any(here.iterdir())


F = classifiers.from_function(lambda v, x: x.ravel()[:2] * v, jnp.float32(1.0), 2, (2, 2, 1))
G = generators.from_function(lambda v, z, y: v * z.reshape(2, 2, 1), jnp.float32(1.0), 4, 2, (2, 2, 1))
X, Y = np.zeros((3, 2, 2, 1), np.float32), np.zeros(3, np.int32)
PYTHON = {
    "alpha above 1": lambda k: bounds.intrinsic_robustness_upper(1.5, 1.0, 2.0),
    "alpha NaN": lambda k: bounds.intrinsic_robustness_upper(np.nan, 1.0, 2.0),
    "epsilon negative": lambda k: bounds.intrinsic_robustness_upper(0.1, -1.0, 2.0),
    "epsilon NaN": lambda k: bounds.adversarial_risk_lower([0.1], np.nan, 2.0),
    "risk below 0": lambda k: bounds.adversarial_risk_lower([-0.1], 1.0, 2.0),
    "constant 0": lambda k: bounds.intrinsic_robustness_upper(0.1, 1.0, 0.0),
    "priors": lambda k: bounds.intrinsic_robustness_upper(0.1, 1.0, [2.0, 2.0], priors=[0.5, 0.6]),
    "family": lambda k: bounds.intrinsic_robustness_upper(0.1, 1.0, 2.0, family="overal"),
    "measure": lambda k: bounds.gaussian_expansion(-0.1, 1.0),
    "radius of the ball": lambda k: LpBall("l2", -1.0).validate(),
    "radius NaN": lambda k: attacks.build("pgd", LpBall("l2", float("nan"))),
    "norm": lambda k: LpBall("l7", 1.0).validate(),
    "attack": lambda k: attacks.build("pdg"),
    "option of an attack": lambda k: attacks.build("pgd", stepps=3),
    "a norm for a threat": lambda k: attacks.build("pgd", "l2"),
    "a name for a threat": lambda k: certify.run(certify.build("interval"), F, X, Y, "l2"),
    "a name for a classifier": lambda k: attacks.run(attacks.build("pgd"), k, "mnist_gen_adv", X, Y),
    "a name to certify": lambda k: certify.run(certify.build("interval"), "mnist_gen_adv", X, Y, LpBall("l2", 1.0)),
    **{f"steps {v!r}": lambda k, v=v: attacks.build("pgd", steps=v)
       for v in ("abc", "10", [3], 2.5, 1e99, 10**30, True, float("nan"))},
    "restarts": lambda k: attacks.build("pgd", restarts="10"),
    "8-bit pixels": lambda k: attacks.run(attacks.build("pgd"), k, F, (X * 255).astype(np.uint8), Y),
    "pixels above 1": lambda k: attacks.run(attacks.build("pgd"), k, F, X + 2, Y),
    "pixels NaN": lambda k: attacks.run(attacks.build("pgd"), k, F, X * np.nan, Y),
    "one image": lambda k: attacks.run(attacks.build("pgd"), k, F, X[0], Y[0]),
    "labels too few": lambda k: attacks.run(attacks.build("pgd"), k, F, X, Y[:2]),
    "labels too large": lambda k: attacks.run(attacks.build("pgd"), k, F, X, Y + 2),
    "labels as floats": lambda k: attacks.run(attacks.build("pgd"), k, F, X, Y * 1.0),
    "images of another size": lambda k: attacks.run(attacks.build("pgd"), k, F, np.zeros((3, 4, 4, 1), np.float32), Y),
    "codes of another size": lambda k: attacks.run(
        attacks.build("in_distribution", generator=G), k, F, X, Y, np.zeros((3, 5), np.float32)),
    "codes NaN": lambda k: attacks.run(
        attacks.build("in_distribution", generator=G), k, F, X, Y, np.full((3, 4), np.nan)),
    "codes of other images": lambda k: attacks.run(
        attacks.build("in_distribution", generator=G), k, F, X, Y, np.ones((3, 4))),
    "a generator in [-1, 1]": lambda k: generators.from_function(
        lambda v, z, y: jnp.tanh(z).reshape(2, 2, 1), None, 4, 1, (2, 2, 1)),
    "no codes": lambda k: attacks.run(attacks.build("in_distribution", generator=G), k, F, X, Y),
    "a seed for a key": lambda k: attacks.run(attacks.build("pgd"), 0, F, X, Y),
    "radius 0": lambda k: lipschitz.sampled(k, G, np.zeros((2, 4)), 0, radius=0, neighbours=2),
    "no neighbours": lambda k: lipschitz.sampled(k, G, np.zeros((2, 4)), 0, radius=1, neighbours=0),
    "codes": lambda k: lipschitz.sampled(k, G, np.zeros((2, 5)), 0, radius=1, neighbours=2),
    "class": lambda k: lipschitz.sampled(k, G, np.zeros((2, 4)), 7, radius=1, neighbours=2),
    "directions": lambda k: lipschitz.sampled(k, G, np.zeros((2, 4)), 0, radius=1, neighbours=2, directions="bal"),
    "no values": lambda k: lipschitz.quantile([], 0.9),
    "quantile": lambda k: lipschitz.quantile([1.0], 1.5),
    "image shape": lambda k: generators.from_function(lambda v, z, y: z, None, 4, 1, (2, 2, 1)),
    "logits": lambda k: classifiers.from_function(lambda v, x: x, None, 2, (2, 2, 1)),
    "generator": lambda k: generators.build("acgna", key=k),
    "classifier": lambda k: classifiers.build("smal_cnn", key=k),
    "image for the classifier": lambda k: classifiers.build("small_cnn", 10, (27, 27, 1), key=k),
}


@pytest.mark.parametrize("case", PYTHON)
def test_python(case, key):
    """A `ValueError` of one line that says what was got and what was wanted, or what is available."""
    with pytest.raises(ValueError) as e, contextlib.suppress(RuntimeWarning):
        PYTHON[case](key)
    text = str(e.value)
    assert isinstance(e.value, InputError) and "\n" not in text, text
    assert ("got" in text and "want" in text) or "vailable" in text, text
