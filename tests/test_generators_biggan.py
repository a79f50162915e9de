"""BigGAN against PyTorch twins with the names of every published checkpoint, and its options."""

import dataclasses
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import generators
from irob.core.check import InputError
from irob.generators import biggan
from irob.generators.importers import biggan_deep128

WIDTH, CLASSES, TRUNCATION = 4, 9, 0.4


def twin(name):
    """(PyTorch twin with random weights, importer)"""
    pytest.importorskip("torch")
    from tests.twins import biggan as twins

    if name == "brock32":
        made, layout = twins.Brock(8, CLASSES), "biggan_pytorch"
    elif name == "brock_shared":
        made = twins.Brock(8, CLASSES, multiples=(4, 4, 2, 1), attention=(1,), shared=12, chunk=6)
        layout = "biggan_pytorch"
    else:
        kind = twins.Deep if "deep" in name else twins.Ivclab
        made, layout = kind(int(name[-3:]), WIDTH, CLASSES), name
    return twins.randomise(made), layout


def imported(made, layout):
    state = {k: v.numpy() for k, v in made.state_dict().items()}
    return importlib.import_module(f"irob.generators.importers.{layout}").convert(state)


def quick(f):
    """Compiled without optimisation: the compiler is what takes the time here."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


@quick
def image_and_pull(g, z, y, c):
    """x f[n,H,W,3] in [0,1], and the gradient of c . x with respect to z."""
    x, pull = jax.vjp(lambda z: jax.vmap(g)(z, y), z)
    return x, pull(c)[0]


LAYOUTS = ("brock32", "brock_shared", *(n for n in biggan.LAYOUTS if n != "biggan32"))


@pytest.mark.parametrize("name", LAYOUTS)
def test_equal_to_pytorch(name):
    made, layout = twin(name)
    import torch

    truncation = 1.0 if "brock" in name else TRUNCATION
    g = biggan.remake(imported(made, layout), truncation=truncation)
    n = 2
    z = np.random.default_rng(0).normal(size=(n, made.latent)).astype(np.float32)
    y = np.arange(n) + 3
    code = torch.tensor(z, requires_grad=True)
    wanted = made(code, torch.tensor(y), truncation)
    c = np.random.default_rng(1).normal(size=wanted.shape).astype(np.float32)
    c /= np.linalg.norm(c.reshape(n, -1), axis=1)[:, None, None, None]  # a unit direction: a row of the Jacobian
    (wanted * torch.tensor(c)).sum().backward()
    wanted, slope = wanted.detach().numpy().transpose(0, 2, 3, 1), code.grad.numpy()
    with jax.default_matmul_precision("float32"):
        got, pulled = image_and_pull(g, z, y, c.transpose(0, 2, 3, 1))
    assert 0.05 < wanted.std() < 0.8 and np.abs(slope).max() > 1e-3  # else there would be nothing to compare
    np.testing.assert_allclose(2 * np.asarray(got) - 1, wanted, atol=1e-5)
    # Among millions of ReLUs one may be within rounding of its kink, where the two derivatives differ rightly (in
    # float64 the two agree to 1e-7 at such codes too): at one code at least none is, and it never matters much.
    gap = np.abs(2 * np.asarray(pulled) - slope).max(axis=1)
    assert gap.min() < 1e-5
    assert gap.max() < 0.1 * np.abs(slope).max()


def test_statistics_are_interpolated():
    layout = biggan.Layout(((4, 4, True),), embedding=0, num_classes=2, statistics=50)
    rows = jnp.arange(50.0)[:, None]

    def at(t, rows=rows):
        norm = biggan.Norm(layout, t)
        return float(norm.standing(rows)[0])

    for place in (0, 7, 24, 49):
        assert at((place + 1) * 0.02) == pytest.approx(place, abs=1e-5)
    assert at(0.15) == pytest.approx(6.5, abs=1e-4)
    assert at(0.001) == 0  # below the table its first row
    assert at(0.02, jnp.arange(51.0)[:, None]) == 1  # the longer table begins at 0
    assert at(0.3, jnp.ones((1, 1))) == 1


def test_where_the_published_arithmetic_leaves_the_table():
    """Every truncation of the table has its own row here; the published arithmetic, with its exchanged weights,
    misses five, as the importer of BigGAN-deep says."""
    layout, rows = biggan.Layout(((4, 4, True),), embedding=0, num_classes=2, statistics=51), np.arange(51.0)

    def published(t):
        f, i = math.modf(t / (1 / 50))
        return rows[int(i)] if f == 0 else rows[int(i)] * f + rows[int(i) + 1] * (1 - f)

    table = [round(0.02 * i, 2) for i in range(51)]
    assert [float(biggan.Norm(layout, t).standing(jnp.asarray(rows)[:, None])[0]) for t in table] == rows.tolist()
    missed = {t: round(0.02 * published(t), 6) for i, t in enumerate(table) if abs(published(t) - i) > 1e-6}
    assert missed == {0.14: 0.16, 0.28: 0.3, 0.56: 0.58, 0.58: 0.56, 0.94: 0.92}
    text = " ".join(biggan_deep128.__doc__.split())
    assert all(f"{t:.2f}"[1:] in text for t in missed) and ".16, .30, .58, .56 and .92" in text


@pytest.fixture(scope="module")
def narrow():
    made, layout = twin("biggan128")
    return imported(made, layout)


def test_ten_classes_at_32(narrow):
    torch = pytest.importorskip("torch")
    z = jax.random.normal(jax.random.key(0), (2, narrow.latent_dim))
    few = biggan.remake(narrow, classes=[8, 3], size=32, resize="nearest")
    assert (few.num_classes, few.image_shape, few.latent_dim) == (2, (32, 32, 3), 120)
    whole = quick(lambda g, z: jax.vmap(g)(z, jnp.asarray([3, 8])))(narrow, z)
    small = quick(lambda g, z: jax.vmap(g)(z, jnp.asarray([1, 0])))(few, z)
    wanted = torch.nn.functional.interpolate(torch.tensor(np.asarray(whole).transpose(0, 3, 1, 2)), size=(32, 32))
    np.testing.assert_allclose(small, wanted.numpy().transpose(0, 2, 3, 1), atol=1e-6)
    with pytest.raises(InputError, match=r"class: got 404, wanted one in \[0, 8\]"):
        biggan.imagenet10(narrow)


def test_memory_and_type_change_nothing_else(narrow):
    z = jax.random.normal(jax.random.key(0), (120,))
    slope = quick(lambda g, z: jax.value_and_grad(lambda z: jnp.sum(g(z, 1) ** 2))(z))
    small = biggan.remake(narrow, size=32)
    value, gradient = slope(small, z)
    again = slope(biggan.remake(small, remat=True), z)
    np.testing.assert_allclose(again[0], value, rtol=1e-6)
    np.testing.assert_allclose(again[1], gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max())
    coarse = quick(lambda g, z: g(z, 1))(biggan.remake(narrow, dtype="bfloat16"), z)
    exact = quick(lambda g, z: g(z, 1))(narrow, z)
    assert coarse.dtype == jnp.float32
    assert 0 < np.abs(coarse - exact).max() < 0.1


def test_a_folder_keeps_everything(narrow, tmp_path):
    g = biggan.remake(narrow, classes=[2, 5, 7], size=32, resize="bilinear", truncation=0.5)
    generators.save(tmp_path, g)
    again = generators.load(tmp_path)
    assert biggan.options(again) == biggan.options(g)
    assert (again.module, again.stages, again.num_classes) == (g.module, g.stages, 3)
    np.testing.assert_array_equal(again.variables["params"]["embedding"], g.variables["params"]["embedding"])


def test_bad_options_are_said():
    for value in (0.0, 1.5, -1, float("nan")):
        with pytest.raises(InputError, match="truncation"):
            biggan.build({}, truncation=value)
    with pytest.raises(InputError, match="did you mean 'biggan128'"):
        biggan.build({}, layout="bigan128")
    with pytest.raises(InputError, match="dtype"):
        biggan.build({}, dtype="float16")
    with pytest.raises(InputError, match="key=jax"):
        biggan.build()
    with pytest.raises(InputError, match="resolution"):
        biggan.standard(64)


def test_layouts_are_as_published():
    for resolution in (128, 256, 512):
        assert biggan.standard(resolution).resolution == biggan.deep(resolution).resolution == resolution
    a = biggan.standard(128)
    assert [b[1] // 96 for b in a.blocks] == [16, 8, 4, 2, 1]
    assert dataclasses.replace(a) == a
    with jax.default_device(jax.devices("cpu")[0]):
        shapes = jax.eval_shape(lambda: biggan.build(key=jax.random.key(0), layout="biggan128").variables)
    count = sum(int(np.prod(v.shape)) for v in jax.tree.leaves(shapes["params"]))
    assert 70e6 < count < 71.5e6  # the published generator has 70.4 M parameters
