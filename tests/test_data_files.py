"""Data from other files: CIFAR-10's binary version, a user's .npz; and the gratings."""

import pathlib

import numpy as np
import pytest

from irob import data
from irob.commands import attack
from irob.core.check import InputError
from irob.core.evidence import Report
from irob.data import cifar10, npz

RNG = np.random.default_rng(0)


def batch(n: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """n records, by the format's definition: a label, then three planes."""
    x, y = RNG.integers(0, 256, (n, 32, 32, 3), np.uint8), RNG.integers(0, 10, n).astype(np.uint8)
    planes = [bytes([y[i]]) + b"".join(x[i, :, :, c].tobytes() for c in range(3)) for i in range(n)]
    return b"".join(planes), x, y


@pytest.fixture
def cifar(tmp_path):
    images, labels = [], []
    for name, n in [(f"data_batch_{i}.bin", 2) for i in range(1, 6)] + [("test_batch.bin", 3)]:
        content, x, y = batch(n)
        (tmp_path / name).write_bytes(content)
        images.append(x)
        labels.append(y)
    return tmp_path, np.concatenate(images), np.concatenate(labels)


def test_cifar_binary(cifar):
    folder, x, y = cifar
    train, test = (data.load("cifar10", s, data_dir=folder) for s in ("train", "test"))
    assert (np.rint(train.x * 255) == x[:10]).all() and (train.y == y[:10]).all()
    assert (np.rint(test.x * 255) == x[10:]).all() and test.image_shape == (32, 32, 3) and test.num_classes == 10


def test_cifar_npz(tmp_path):
    _, x, y = batch(4)
    np.savez(tmp_path / "test.npz", x=x, y=y)
    assert (np.rint(data.load("cifar10", "test", data_dir=tmp_path).x * 255) == x).all()
    np.savez(tmp_path / "test.npz", x=x[:, :28], y=y)
    with pytest.raises(InputError, match="32, 32, 3"):
        data.load("cifar10", "test", data_dir=tmp_path)


def test_cifar_that_cannot_be_loaded(cifar):
    folder = cifar[0]
    with pytest.raises(InputError, match="no such folder"):
        data.load("cifar10", "train", data_dir=folder / "absent")
    file = folder / "data_batch_3.bin"
    good = file.read_bytes()
    file.write_bytes(good[:-1])
    with pytest.raises(InputError, match="data_batch_3.bin.* got 6145 bytes, wanted records of 3073"):
        data.load("cifar10", "train", data_dir=folder)
    file.write_bytes(b"\x63" + good[1:])
    with pytest.raises(InputError, match="label 99"):
        data.load("cifar10", "train", data_dir=folder)
    file.unlink()
    with pytest.raises(InputError, match="data_batch_3.bin missing"):
        data.load("cifar10", "train", data_dir=folder)
    (folder / "test_batch.bin").unlink()
    with pytest.raises(InputError, match="--data-dir"):
        data.load("cifar10", "test", data_dir=folder)


def test_npz_round_trip(tmp_path):
    x, y, z = RNG.random((6, 5, 4, 3)).astype(np.float32), np.arange(6) % 3, RNG.normal(size=(6, 2))
    npz.save(tmp_path / "train.npz", x=x, y=y, z=z.astype(np.float32))
    for where in (tmp_path, tmp_path / "train.npz"):
        d = data.load("npz", "train", data_dir=where)
        assert (d.x == x).all() and (d.y == y).all() and (d.z == z.astype(np.float32)).all() and d.num_classes == 3
    assert data.load("npz", "train", data_dir=tmp_path, num_classes=7, count=2).num_classes == 7
    assert [f.name for f in tmp_path.iterdir()] == ["train.npz"]


def test_npz_bytes_and_grey(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.full((2, 3, 3), 255, np.uint8), y=np.zeros(2, int))
    d = data.load("npz", "test", data_dir=tmp_path / "d.npz")
    assert d.x.shape == (2, 3, 3, 1) and (d.x == 1).all() and d.z is None


X, Y = np.zeros((4, 3, 3, 1), np.float32), np.zeros(4, int)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"x": X}, "got arrays x, wanted x, y"),
        ({"x": X, "y": Y[:3]}, "labels"),
        ({"x": X + 2, "y": Y}, r"pixels in \[2, 2\]"),
        ({"x": X * np.nan, "y": Y}, "pixels"),
        ({"x": X.astype(int), "y": Y}, "floating point"),
        ({"x": X[0, 0], "y": Y}, "shape"),
        ({"x": X, "y": Y.astype(float)}, "wanted integers"),
        ({"x": X, "y": Y - 1}, "labels"),
        ({"x": X, "y": Y, "z": np.zeros(4)}, "codes of shape"),
        ({"x": X[:0], "y": Y[:0]}, "no examples"),
        ({"x": X, "y": np.array([0, 1, 2, None], object)}, "allow_pickle"),
    ],
)
def test_bad_npz(tmp_path, content, words):
    np.savez(tmp_path / "mine.npz", **content)
    with pytest.raises(InputError, match=words) as e:
        data.load("npz", "test", data_dir=tmp_path / "mine.npz")
    assert "mine.npz" in str(e.value) and "\n" not in str(e.value)


def test_broken_npz(tmp_path):
    file = tmp_path / "mine.npz"
    np.savez(file, x=X, y=Y)
    good = file.read_bytes()
    bare = tmp_path / "bare.npz"
    np.save(tmp_path / "bare.npy", X)
    bare.write_bytes((tmp_path / "bare.npy").read_bytes())
    flipped = bytearray(good)
    flipped[good.index(b"\x93NUMPY") + 140] ^= 1
    for content in (b"", b"nothing", good[:-20], good[: len(good) // 2], bytes(flipped)):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"mine\.npz"):
            data.load("npz", "test", data_dir=file)
    with pytest.raises(InputError, match="bare array"):
        data.load("npz", "test", data_dir=bare)
    with pytest.raises(InputError, match="no such file"):
        data.load("npz", "test", data_dir=tmp_path)


def test_gratings():
    train, test = data.load("synthetic", "train"), data.load("synthetic", "test")
    assert train.x.shape == (512, 28, 28, 1) and test.x.shape == (256, 28, 28, 1) and train.x.dtype == np.float32
    assert train.x.min() >= 0 and train.x.max() <= 1 and np.bincount(train.y).tolist() == [52, 52] + [51] * 8
    assert len({row.tobytes() for row in np.concatenate([train.x, test.x])}) == 768
    # the formula at one point: class 0 has its wave along the first axis
    u, v = -0.5 + 3 / 27, -0.5 + 8 / 27
    want = 0.5 + 0.5 * np.cos(2 * np.pi * (3 * u + (10 * 0.6180339887498949) % 1)) * np.exp(-4 * (u * u + v * v))
    assert train.y[10] == 0 and abs(train.x[10, 3, 8, 0] - want) < 1e-6
    # 1-nearest neighbour already tells the classes apart
    distance = ((test.x[:, None] - train.x[None]) ** 2).sum((2, 3, 4))
    assert (train.y[distance.argmin(1)] == test.y).mean() > 0.9


@pytest.mark.parametrize("name", data.names())
def test_every_data_set_says_what_it_takes(name):
    assert "count" in data.takes(name)
    with pytest.raises(InputError, match="takes no colour"):
        data.load(name, "test", colour="red")


def test_batches_of_no_records(tmp_path):
    (tmp_path / "b.bin").write_bytes(b"")
    with pytest.raises(InputError, match="0 bytes"):
        cifar10.read_batch(tmp_path / "b.bin")


OUTSIDE = str(pathlib.Path(__file__).parent / "outside" / "stripes.py")


def test_a_data_set_of_ones_own_goes_through_the_commands(tmp_path, capsys):
    """It stands nowhere in irob; a classifier of its rule is right on all of it."""
    model = tmp_path / "rule.py"
    model.write_text("import jax.numpy as jnp\n\ndef make():\n"
                     "    return lambda x: jnp.stack([x[:, :4].sum(), x[:, 4:].sum()])\n")
    attack.main(attack.Config(classifier=[f"{model}:make"], dataset=f"{OUTSIDE}:build", attack=["pgd"], steps=2,
                              samples=20, epsilon=[0.01], examine=False, out=str(tmp_path / "attack")))
    found = Report.from_json((tmp_path / "attack" / "attack.json").read_text()).rows
    assert {r.value for r in found} == {1.0} and {r.dataset for r in found} == {f"{OUTSIDE}:build"}
    assert len(data.load(f"{OUTSIDE}:build", "train", count=7)) == 7
    with pytest.raises(InputError, match="takes no seed"):
        data.load(f"{OUTSIDE}:build", "test", seed=1)
    with pytest.raises(InputError, match=r"got int, wanted an irob.core.types.Dataset"):
        data.load(f"{OUTSIDE}:wrong", "test")
    with pytest.raises(InputError, match="takes no resize"):
        data.narrowed(f"{OUTSIDE}:build", None, "area")
