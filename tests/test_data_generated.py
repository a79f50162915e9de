"""Generated data: the same labels and codes everywhere, for any chunk and any length."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from irob import data
from irob.core.check import InputError
from irob.core.types import Generator
from irob.data import generated


def bars(variables, z, y):
    """A cheap generator: brightness from the codes, a bar at the row of the class."""
    x = jax.nn.sigmoid(jnp.tile(z[:4] * variables, (4, 1)))
    return x.at[y].set(1.0)[..., None]


CHECKSUMS = ["22088d41f5f23fe8", "6c0522f2750cd013", "c26f7dafa7b97043", "3bf0418181123732"]
G = Generator(jnp.float32(0.5), bars, latent_dim=6, num_classes=4, image_shape=(4, 4, 1))


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


def test_labels_and_codes_never_change():
    """Written down once: the shipped classifiers were trained on what these numbers generate."""
    train = generated.codes(generated.stream(0, "train"), 2000, 100, 10)
    test = generated.codes(generated.stream(0, "test"), 2000, 100, 10)
    assert [digest(a) for a in (*train, *test)] == CHECKSUMS
    assert train[0].dtype == np.float32 and train[1].dtype == np.int32


def test_no_default_changes_them():
    want = generated.codes(generated.stream(3, "test"), 20, 5, 10)
    with jax.default_prng_impl("rbg"):
        got = generated.codes(generated.stream(3, "test"), 20, 5, 10)
    assert all((a == b).all() for a, b in zip(want, got, strict=True))


def test_codes_are_normal_and_labels_uniform():
    z, y = generated.codes(generated.stream(1, "train"), 20_000, 20, 10)
    assert stats.kstest(z.ravel()[:100_000].astype(np.float64), "norm").pvalue > 1e-3
    assert stats.chisquare(np.bincount(y, minlength=10)).pvalue > 1e-3
    correlation = np.corrcoef(z.T) - np.eye(20)
    assert np.abs(correlation).max() < 5 / np.sqrt(20_000)
    assert (z * generated.GRID == np.rint(z * generated.GRID)).all()


def test_an_example_depends_on_its_index_alone(monkeypatch):
    key = generated.stream(0, "test")
    z, y = generated.codes(key, 50, 7, 10)
    monkeypatch.setattr(generated, "BLOCK", 8)
    for start, count in ((0, 50), (0, 9), (13, 20)):
        part = generated.codes(key, count, 7, 10, start=start)
        assert (part[0] == z[start : start + count]).all() and (part[1] == y[start : start + count]).all()


def test_streams_are_disjoint():
    z = [generated.codes(generated.stream(s, split), 3000, 6, 4)[0] for s in (0, 1) for split in ("train", "test")]
    rows = {row.tobytes() for block in z for row in block}
    assert len(rows) == 4 * 3000


def test_data_set_keeps_codes_and_ignores_chunks():
    whole = data.load("mnist_gen", "train", generator=G, seed=2, count=30)
    for chunk in (1, 7, 30, 1000):
        part = data.load("mnist_gen", "train", generator=G, seed=2, count=30, chunk=chunk)
        assert (part.y == whole.y).all() and (part.z == whole.z).all()
        np.testing.assert_allclose(part.x, whole.x, atol=1e-6)
    again = np.stack([np.asarray(G(z, y)) for z, y in zip(whole.z, whole.y, strict=True)])
    np.testing.assert_allclose(whole.x, again, atol=1e-6)
    assert whole.image_shape == (4, 4, 1) and whole.num_classes == 4 and len(whole) == 30


def test_default_sizes(monkeypatch):
    seen = []
    monkeypatch.setattr(generated, "dataset", lambda g, split, count, **_: seen.append((split, count)))
    data.load("mnist_gen", "train", generator=G)
    data.load("mnist_gen", "test", generator=G)
    assert seen == [("train", 60_000), ("test", 10_000)]


def test_the_shipped_generator():
    d = data.load("mnist_gen", "test", count=4)
    assert d.x.shape == (4, 28, 28, 1) and d.z.shape == (4, 100) and d.x.min() >= 0 and d.x.max() <= 1


def test_without_classes():
    from dataclasses import replace

    d = generated.dataset(replace(G, num_classes=0), "train", 10)
    assert d.num_classes == 1 and not d.y.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count"),
        ({"count": 1.5}, "count"),
        ({"seed": -1}, "seed"),
        ({"generator": "acgan_mnits"}, "acgan_mnist"),
        ({"data_dir": "here"}, "takes no data_dir"),
        ({"generator": Generator(None, lambda v, z, y: 3 + z[:, None, None], 4, 1, (4, 1, 1))}, r"\[0, 1\]"),
        ({"generator": Generator(None, lambda v, z, y: z[:, None, None], 4, 1, (4, 1, 1), latent="sphere")}, "sphere"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(InputError, match=words):
        data.load("mnist_gen", "test", **{"count": 5, **options})


def test_bad_names():
    with pytest.raises(InputError, match="did you mean 'mnist_gen'"):
        data.load("mnist_gne", "test")
    with pytest.raises(InputError, match="did you mean 'train'"):
        data.load("mnist", "trian")
