"""The IDX reader on files written here: good ones come back, broken ones are named."""

import gzip
import struct

import numpy as np
import pytest
import tensorflow_datasets as tfds

from irob import data
from irob.core.check import InputError
from irob.data import idx, mnist


def encode(array: np.ndarray) -> bytes:
    """An array u8 in IDX format, by the format's definition."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """Four small IDX files; the training pair gzipped."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 7), ("t10k", 5)):
        pair = {"images-idx3": rng.integers(0, 256, (n, 28, 28), np.uint8), "labels-idx1": np.arange(n, dtype=np.uint8)}
        for part, array in pair.items():
            name, content = f"{split}-{part}-ubyte", encode(array)
            if split == "train":
                name, content = name + ".gz", gzip.compress(content, mtime=0)
            (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("shape", [(5,), (3, 4, 2), (0, 28, 28), (2, 0)])
def test_round_trip(tmp_path, shape):
    array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    (tmp_path / "a").write_bytes(encode(array))
    (tmp_path / "b").write_bytes(gzip.compress(encode(array), mtime=0))
    for name in "ab":
        got = idx.read(tmp_path / name)
        assert got.dtype == np.uint8 and got.shape == shape and (got == array).all()


GOOD = encode(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (GOOD[:3], "0x000008"),
        (GOOD[:9], "9 bytes, wanted a header of 16"),
        (GOOD[:-1], "27 bytes, wanted 28"),
        (GOOD + b"\0", "29 bytes, wanted 28"),
        (b"\0\0\x0d\x03" + GOOD[4:], "magic"),
        (b"<html>", "magic"),
        (gzip.compress(GOOD, mtime=0)[:-10], "broken gzip"),
        (gzip.compress(GOOD, mtime=0)[:12] + b"xxxx" + gzip.compress(GOOD, mtime=0)[16:], "broken gzip"),
        (gzip.compress(GOOD, mtime=0)[:-8] + b"\0\0\0\0" + gzip.compress(GOOD, mtime=0)[-4:], "broken gzip"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "wanted 79228162458924105385300197391"),
    ],
)
def test_broken_files_are_named(tmp_path, content, words):
    (tmp_path / "broken-file").write_bytes(content)
    with pytest.raises(InputError, match="broken-file") as e:
        idx.read(tmp_path / "broken-file", axes=3)
    assert words in str(e.value) and "\n" not in str(e.value)


def test_wrong_kind_of_file(tmp_path):
    (tmp_path / "labels").write_bytes(encode(np.zeros(3, np.uint8)))
    with pytest.raises(InputError, match=r"1 axes, wanted 3 \(images\)"):
        idx.read(tmp_path / "labels", axes=3)
    with pytest.raises(InputError, match="No such file"):
        idx.read(tmp_path / "absent")


def test_mnist_from_files(folder):
    train, test = (data.load("mnist", s, data_dir=folder) for s in ("train", "test"))
    assert train.x.shape == (7, 28, 28, 1) and train.x.dtype == np.float32 and test.x.shape == (5, 28, 28, 1)
    raw = idx.read(folder / "t10k-images-idx3-ubyte")
    assert (np.rint(test.x[..., 0] * 255) == raw).all() and test.x.max() <= 1
    assert train.y.tolist() == list(range(7)) and train.z is None and train.num_classes == 10
    assert len(data.load("mnist", "train", data_dir=str(folder), count=3)) == 3
    assert mnist.provenance(folder)["official"] is False and len(mnist.provenance(folder)["sha256"]) == 4


def test_mnist_in_a_folder_of_the_folder(folder):
    inner = folder / "MNIST" / "raw"
    inner.mkdir(parents=True)
    for file in list(folder.glob("*ubyte*")):
        file.rename(inner / file.name)
    assert len(data.load("mnist", "test", data_dir=folder)) == 5


def test_mnist_that_cannot_be_loaded(folder, tmp_path):
    images, labels = folder / "t10k-images-idx3-ubyte", folder / "t10k-labels-idx1-ubyte"
    labels.write_bytes(encode(np.array([0, 1, 2, 3, 10], np.uint8)))
    with pytest.raises(InputError, match="label 10, wanted 0 to 9"):
        data.load("mnist", "test", data_dir=folder)
    labels.write_bytes(encode(np.zeros(4, np.uint8)))
    with pytest.raises(InputError, match="5 images and 4 labels"):
        data.load("mnist", "test", data_dir=folder)
    labels.unlink()
    with pytest.raises(InputError, match="t10k-labels-idx1-ubyte .* missing"):
        data.load("mnist", "test", data_dir=folder)
    images.unlink()
    with pytest.raises(InputError, match="--data-dir .*tfds.* mnist_gen"):
        data.load("mnist", "test", data_dir=folder)
    with pytest.raises(InputError, match="no such folder"):
        data.load("mnist", "test", data_dir=tmp_path / "absent")


def test_without_any_mnist(tmp_path, monkeypatch, caplog, capfd):
    # tfds reads its folder when it is imported, so the environment would come too late
    look = tfds.data_source
    monkeypatch.setattr(tfds, "data_source", lambda *a, **k: look(*a, **{**k, "data_dir": str(tmp_path)}))
    with pytest.raises(InputError, match="--data-dir") as e:
        data.load("mnist", "test")
    assert "\n" not in str(e.value)
    assert not caplog.records and capfd.readouterr().err == ""
