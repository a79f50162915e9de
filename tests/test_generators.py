"""Generators: what loads is what was saved, what is damaged is named, and the networks are the published ones."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import generators
from irob.core import weights
from irob.core.check import InputError
from irob.generators import acgan, gan


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A GAN with fresh weights in a folder, and the generator itself."""
    generator = gan.build(key=jax.random.key(1))
    return generators.save(tmp_path_factory.mktemp("gan") / "w", generator, epochs=0), generator


@pytest.fixture(scope="module")
def fresh():
    """The ACGAN's generator with fresh weights."""
    return acgan.build(key=jax.random.key(0))


def count(build):
    """Parameters of an architecture, without drawing them."""
    params = jax.eval_shape(lambda: build(key=jax.random.key(0)).variables)["params"]
    return sum(a.size for a in jax.tree.leaves(params))


def test_sizes_are_the_published_ones():
    """REFERENCE: 6.69 M parameters; the GAN has no label inputs, that is 10 x 1024 fewer."""
    dense, norms = 110 * 1024 + 1024 + 1024 * 6272 + 6272, 2 * (1024 + 6272 + 64)
    assert count(acgan.build) == dense + norms + 128 * 64 * 16 + 64 + 64 * 16 + 1
    assert count(acgan.build) - count(gan.build) == 10 * 1024


def test_weights_start_as_published(fresh):
    params = fresh.variables["params"]
    for name in ("fc_0", "fc_3", "deconv_0", "deconv_3"):
        assert np.std(params[name]["kernel"]) == pytest.approx(0.02, rel=0.1)
        assert not np.any(params[name]["bias"])


def test_images_and_discriminator(fresh, key):
    x = jax.vmap(fresh)(3 * jax.random.normal(key, (4, 100)), jnp.arange(4))
    assert x.shape == (4, 28, 28, 1) and x.dtype == jnp.float32
    assert 0 <= x.min() < x.max() <= 1
    for room, classes in ((acgan, (4, 10)), (gan, None)):
        (real, of_class), _ = jax.eval_shape(room.discriminator().init_with_output, key, x)
        assert real.shape == (4,)
        assert getattr(of_class, "shape", None) == classes


def test_label_matters_to_one_and_not_to_the_other(fresh, small, key):
    z = jax.random.normal(key, (100,))
    assert not np.allclose(fresh(z, 1), fresh(z, 2), atol=1e-6)
    np.testing.assert_array_equal(small[1](z, 0), small[1](z, 5))


def test_rebuilt_generators_are_one_trace(small):
    """Static parts are compared by value: the same architecture built twice compiles once."""
    traces = []

    @jax.jit
    def f(g, z):
        traces.append(1)
        return g(z, 0)

    for _ in range(2):
        f(gan.build(small[1].variables), jnp.zeros(100))
    assert len(traces) == 1


def test_round_trip(small, key):
    folder, generator = small
    loaded, z = generators.load(folder), jax.random.normal(key, (100,))
    np.testing.assert_array_equal(loaded(z, 0), generator(z, 0))
    assert (loaded.name, loaded.latent_dim, loaded.num_classes) == ("gan", 100, 1)


def test_shipped_acgan(key):
    """The shipped weights make images that look like the paper's: mostly black, classes apart."""
    generator = generators.load("acgan_mnist")
    y = jnp.arange(200) % 10
    x = np.asarray(jax.vmap(generator)(jax.random.normal(key, (200, 100)), y))
    assert 0.05 < x.mean() < 0.25
    means = np.stack([x[np.asarray(y) == k].mean(0).ravel() for k in range(10)])
    apart = np.linalg.norm(means[:, None] - means[None], axis=-1)[~np.eye(10, dtype=bool)]
    assert apart.min() > 2


@pytest.mark.parametrize("damage", ["missing", "truncated", "exchanged", "shapes", "names", "kind"])
def test_damage_is_named(small, tmp_path, damage):
    tree, config = weights.load(small[0])
    folder = tmp_path / "w"
    if damage == "shapes":
        tree["params"]["fc_0"]["kernel"] = tree["params"]["fc_0"]["kernel"][:-1]
    if damage == "names":
        tree["params"]["fc_9"] = tree["params"].pop("fc_0")
    if damage == "kind":
        config["kind"] = "classifier"
    weights.save(folder, tree, {k: v for k, v in config.items() if k != "sha256"})
    file, record = folder / weights.WEIGHTS, folder / weights.CONFIG
    if damage == "missing":
        file.unlink()
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    if damage == "exchanged":
        record.write_text(json.dumps({**json.loads(record.read_text()), "sha256": "0" * 64}))
    wanted = {"missing": "weights.safetensors", "truncated": "damaged", "exchanged": "damaged",
              "shapes": "fc_0/kernel has shape",
              "names": "missing:.*fc_0.*surplus:.*fc_9", "kind": "wanted a generator"}
    with pytest.raises(InputError, match=wanted[damage]) as e:
        generators.load(folder)
    assert "\n" not in str(e.value) and str(folder.name) in str(e.value)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(InputError, match="acgan_mnist"):
        generators.load("acgan_mnits")
    with pytest.raises(InputError, match="did you mean 'acgan'"):
        generators.build("acgann", key=jax.random.key(0))


@pytest.mark.parametrize("name", ["acgan", "gan"])
def test_neither_variables_nor_key(name):
    with pytest.raises(InputError, match="neither variables nor a key"):
        generators.build(name)


def test_from_function_checks_the_image():
    make = lambda v, z, y: v * z.reshape(2, 2, 1)  # noqa: E731
    g = generators.from_function(make, jnp.float32(2), 4, 3, (2, 2, 1))
    np.testing.assert_allclose(g(jnp.arange(4.0), 0)[..., 0], [[0, 2], [4, 6]])
    with pytest.raises(InputError, match=r"got an image of shape \(2, 2, 1\), wanted \(4, 1, 1\)"):
        generators.from_function(make, jnp.float32(2), 4, 3, (4, 1, 1))
