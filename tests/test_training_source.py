"""Sources of batches: the order of arrays, shares of a mixture, fresh images; the same after a kill and a resume."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob.core.check import InputError
from irob.data import generated
from irob.generators import affine
from irob.training.fit import fit
from irob.training.proxy import Generated, Mixture
from irob.training.source import Arrays, Rows, of


def arrays(n, seed=0, z=True):
    rng = np.random.default_rng(seed)
    codes = rng.normal(size=(n, 3)).astype(np.float32) if z else None
    return Arrays(rng.random((n, 2, 2, 1), np.float32), np.arange(n, dtype=np.int32) % 4, codes, 4, "toy")


@pytest.fixture(scope="module")
def generator():
    return affine.build(key=jax.random.key(1), latent_dim=3, num_classes=4, image_shape=(2, 2, 1))


def every(source, key, size, epoch=0):
    batches = source.batches(jax.random.fold_in(key, epoch), epoch, size)
    return [batches(step) for step in range(source.steps(size))]


def test_arrays_come_in_the_order_that_they_always_had(key):
    """order = permutation(fold_in(epoch's key, 2^31 - 1)), in slices: what runs before sources took."""
    source = arrays(23)
    order = np.asarray(jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, 5), 2**31 - 1), 23))
    batches = every(source, key, 4, epoch=5)
    assert len(batches) == 5
    for i, batch in enumerate(batches):
        rows = order[4 * i : 4 * i + 4]
        np.testing.assert_array_equal(batch.index, rows)
        for got, of_all in ((batch.x, source.x), (batch.y, source.y), (batch.z, source.z)):
            np.testing.assert_array_equal(got, of_all[rows])
    plain = Rows({"x": source.x}).batches(jax.random.fold_in(key, 5), 5, 4)
    np.testing.assert_array_equal(plain(2)["x"], batches[2].x)


def test_half_of_every_batch_is_real_and_half_proxy(key):
    real, proxy = arrays(20), arrays(11, seed=1)
    mixture = Mixture(real, proxy, 0.5)
    batches = every(mixture, key, 8)
    assert len(batches) == 5 and len(mixture) == 40
    assert all((b.index[:4] < 20).all() and (b.index[4:] >= 20).all() for b in batches)
    assert sorted(np.concatenate([b.index[:4] for b in batches])) == list(range(20))  # one pass over the real ones
    drawn = [b.index[4:] - 20 for b in batches]
    for some in (drawn[:2], drawn[2:4]):  # passes over the proxy, in new orders
        assert len({*np.concatenate(some).tolist()}) == 8
    assert not np.array_equal(np.concatenate(drawn[:2]), np.concatenate(drawn[2:4]))
    for b in batches:
        np.testing.assert_array_equal(b.x[4:], proxy.x[b.index[4:] - 20])
        np.testing.assert_array_equal(b.z[:4], real.z[b.index[:4]])
    assert every(Mixture(arrays(20, z=False), proxy), key, 8)[0].z is None
    assert [len(every(Mixture(real, proxy, s), key, 10)) for s in (0.2, 0.5, 0.8)] == [10, 4, 2]


def test_generated_images_are_fresh_and_those_of_the_generator(generator, key):
    source = Generated(jax.random.key(3), generator, 12)
    first, second = every(source, key, 4), every(source, key, 4, epoch=1)
    z, y = generated.codes(jax.random.fold_in(source.key, 0), 12, 3, 4)
    np.testing.assert_array_equal(np.concatenate([b.z for b in first]), z)
    np.testing.assert_array_equal(np.concatenate([b.y for b in first]), y)
    np.testing.assert_allclose(first[1].x, jax.vmap(generator)(first[1].z, first[1].y), atol=1e-6)
    codes = np.concatenate([b.z for b in first + second])
    assert len(np.unique(codes, axis=0)) == 24


@pytest.mark.parametrize("kind", ["generated", "mixture"])
def test_a_resumed_run_sees_the_batches_of_one_that_was_not_killed(kind, generator, tmp_path):
    source = Generated(jax.random.key(3), generator, 24)
    if kind == "mixture":
        source = Mixture(arrays(16), source)

    def step(key, state, batch):
        mark = jnp.sum(jnp.asarray(batch.x) * jnp.arange(1.0, 9.0)[:, None, None, None]) + jnp.sum(batch.index)
        return {"w": 0.9 * state["w"] + mark}, {"loss": mark}

    def run(folder, epochs, resume=False):
        return fit(jax.random.key(5), {"w": jnp.zeros(())}, step, source, epochs=epochs, batch_size=8, label="",
                   workdir=tmp_path / folder, checkpoint_every=1, resume=resume)

    whole = run("whole", 4)
    run("parts", 2)
    np.testing.assert_array_equal(run("parts", 4, resume=True)["w"], whole["w"])


def test_sources_say_what_is_wrong(generator, key, tmp_path):
    real = arrays(20)
    for make, says in [
        (lambda: Arrays(real.x * 2, real.y), "wanted \\[0, 1\\]"),
        (lambda: Arrays(real.x, real.y, real.z[:3]), "codes z: got 3"),
        (lambda: Mixture(real, arrays(4), share=0.0), "share: got 0"),
        (lambda: Mixture(real, arrays(4), 0.05).steps(4), "an example of each part"),
        (lambda: Mixture(real, Arrays(real.x, real.y % 2)), "proxy of 2 classes .* wanted 4"),
        (lambda: Generated(0, generator), "typed key"),
        (lambda: fit(key, {}, None, Mixture(real, arrays(3)), epochs=1, batch_size=8, workdir=tmp_path / "w"),
         "3 of the proxy"),
        (lambda: fit(key, {}, None, real, epochs=1, batch_size=21, workdir=tmp_path / "w"), "at most the 20 examples"),
    ]:
        with pytest.raises(InputError, match=says):
            make()
    assert not (tmp_path / "w").exists()
    assert of(real) is real
