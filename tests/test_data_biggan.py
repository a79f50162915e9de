"""Generated ImageNet10 and CIFAR-10: shapes, codes, and what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import data, generators
from irob.core.check import InputError
from irob.generators import biggan


def thousand():
    """BigGAN's shape in everything but size: 1000 classes, 64x64, one block after the other."""
    layout = biggan.Layout(((8, 8, True),) * 4, latent_dim=6, num_classes=1000, embedding=0)
    return biggan.build(key=jax.random.key(0), layout=layout)


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    folder = tmp_path_factory.mktemp("g")
    generators.save(folder, biggan.imagenet10(thousand()))
    return str(folder)


def test_imagenet10(ten):
    some = data.load("imagenet10_gen", "test", generator=ten, count=12)
    assert some.x.shape == (12, 32, 32, 3) and some.z.shape == (12, 6) and some.num_classes == 10
    g = thousand()
    whole = jax.vmap(g)(some.z[:2], jnp.asarray(biggan.IMAGENET10)[some.y[:2]])
    np.testing.assert_allclose(some.x[:2], np.asarray(whole).reshape(2, 32, 2, 32, 2, 3).mean((2, 4)), atol=1e-5)
    again = data.load("imagenet10_gen", "test", generator=g, count=3, chunk=2)  # a generator of all classes
    np.testing.assert_allclose(again.x, some.x[:3], atol=1e-5)
    np.testing.assert_array_equal(again.z, some.z[:3])
    aliased = data.load("imagenet10_gen", "test", generator=g, count=1, resize="nearest")
    np.testing.assert_allclose(aliased.x[0], whole[0][::2, ::2], atol=1e-5)


def test_cifar10():
    g = biggan.build(key=jax.random.key(0), width=2)
    some = data.load("cifar10_gen", "train", generator=g, count=4)
    assert some.x.shape == (4, 32, 32, 3) and some.z.shape == (4, 128) and some.name == "cifar10_gen"


@pytest.mark.parametrize("name", ["imagenet10_gen", "cifar10_gen"])
def test_what_is_wrong_is_said(name):
    with pytest.raises(InputError, match="got no generator, and none is shipped"):
        data.load(name, "test")
    with pytest.raises(InputError, match=r"images \(28, 28, 1\), wanted 10 and \(32, 32, 3\)"):
        data.load(name, "test", generator="acgan_mnist")
