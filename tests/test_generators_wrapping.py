"""Anybody's generator: wrapped it draws what the model draws, by name it goes through every command."""

import dataclasses
import importlib.util
import json
import pathlib
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from irob import data, generators
from irob.commands import attack, estimate, limit, sample
from irob.commands import report as report_door
from irob.core import models, registry, weights
from irob.core.check import InputError
from irob.core.store import whole
from irob.generators import Truncated, Uniform, wrapping
from tests.outside import small_images
from tests.test_evaluation_report import small

FILE = str(pathlib.Path(__file__).parent / "outside" / "small_images.py")
GEN, MODEL = f"{FILE}:gen", f"{FILE}:model"
Z, Y = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32), np.arange(5) % 3


class Decoder(nn.Module):
    """Codes [n,4] and classes [n] to images [n,2,3,1]."""

    @nn.compact
    def __call__(self, z, y):
        h = nn.Dense(6)(jnp.concatenate([z, jax.nn.one_hot(y, 3)], -1))
        return nn.sigmoid(h).reshape(-1, 2, 3, 1)


class Stateful(nnx.Module):
    """The same with batch-norm, which stands still in inference."""

    def __init__(self):
        self.dense, self.norm = nnx.Linear(4, 6, rngs=nnx.Rngs(0)), nnx.BatchNorm(6, rngs=nnx.Rngs(0))

    def __call__(self, z, y):
        return nnx.sigmoid(self.norm(self.dense(z)) + y[:, None]).reshape(-1, 2, 3, 1)


def kinds():
    """(model, options, images f[n,H,W,C] that it draws for codes and classes)."""
    linen = Decoder()
    variables = linen.init(jax.random.key(0), Z, Y)
    w = jax.random.normal(jax.random.key(1), (4, 6))
    yield "linen", (linen, variables), {}, lambda z, y: linen.apply(variables, z, y)
    yield "bound", linen.bind(variables), {}, lambda z, y: linen.apply(variables, z, y)
    net = Stateful()
    still = nnx.clone(net)
    still.eval()
    yield "nnx", net, {}, still
    plain = lambda w, z, y: jax.nn.sigmoid(z @ w + y)  # noqa: E731
    yield "function", lambda z, y: plain(w, z, y).reshape(2, 3, 1), {}, lambda z, y: (
        plain(w, z, y[:, None]).reshape(-1, 2, 3, 1))
    yield "variables", lambda w, z, y: plain(w, z, y).reshape(1, 2, 3), {"variables": w, "layout": "CHW"}, (
        lambda z, y: plain(w, z, y[:, None]).reshape(-1, 2, 3, 1))


@pytest.mark.parametrize(("model", "options", "wanted"), [k[1:] for k in kinds()], ids=[k[0] for k in kinds()])
def test_a_wrapped_model_draws_what_the_model_draws(model, options, wanted):
    g = generators.wrap(model, latent_dim=4, num_classes=3, **options)
    assert (g.image_shape, g.num_classes, g.components) == ((2, 3, 1), 3, 3)
    np.testing.assert_allclose(jax.vmap(g)(Z, Y), wanted(Z, Y), atol=1e-6)
    uniform = generators.wrap(model, latent_dim=4, num_classes=3, latent=Uniform(-2.0, 2.0), **options)
    np.testing.assert_allclose(jax.vmap(uniform)(Z, Y), wanted(uniform.latent(jnp.asarray(Z)), Y), atol=1e-6)


def test_equinox_takes_one_code():
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        dense: eqx.nn.Linear

        def __call__(self, z, y):
            return jax.nn.sigmoid(self.dense(z) + y).reshape(1, 2, 3)

    net = Net(eqx.nn.Linear(4, 6, key=jax.random.key(0)))
    g = generators.wrap(net, latent_dim=4, num_classes=3)
    np.testing.assert_allclose(g(Z[0], 2)[..., 0], net(Z[0], 2)[0], atol=1e-6)


def test_pytorch_is_traced():
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("torchax") is None:  # importing it needs what `as_function` mends
        pytest.skip("torchax is not installed")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.dense = torch.nn.Embedding(3, 4), torch.nn.Linear(4, 6)

        def forward(self, z, y):
            return torch.sigmoid(self.dense(z + self.embed(y))).reshape(-1, 1, 2, 3)

    net = Net().eval()
    g = generators.wrap(net, latent_dim=4, num_classes=3, latent=Uniform(-1.0, 1.0))
    u = torch.from_numpy(np.array(g.latent(jnp.asarray(Z))))
    wanted = net(u, torch.from_numpy(Y)).detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(jax.vmap(g)(Z, Y), wanted, atol=1e-5)
    assert g.image_shape == (2, 3, 1)
    with pytest.raises(InputError, match="cannot be taken: .* fails on .*: RuntimeError"):
        generators.wrap(net, latent_dim=5, num_classes=3)


@pytest.mark.parametrize(("model", "options", "message"), [
    (lambda z, y: z.reshape(2, 2), {}, r"got an image of shape \(2, 2\), wanted \(height, width, channels\)"),
    (lambda z, y: jax.nn.sigmoid(z).reshape(2, 2, 1), {"image_shape": (4, 4, 1)}, r"\(2, 2, 1\), wanted \(4, 4"),
    (lambda z, y: jnp.tanh(z).reshape(2, 2, 1), {}, r"got pixels in \[-1, 1\], wanted \[0, 1\]; take \(x \+ 1\) / 2"),
    (lambda z, y: 255 * jax.nn.sigmoid(9 * z).reshape(2, 2, 1), {}, "divide by 255"),
    (lambda z, y: z.reshape(7), {}, "the model fails on a code: TypeError"),
    (lambda z, y: z, {"label_of": [0, 2], "image_shape": None}, "height, width"),
    (lambda z, y: jax.nn.sigmoid(z).reshape(2, 2, 1), {"label_of": [0, 1, 1]}, "got labels .0, 1., wanted each"),
    (lambda z, y: jax.nn.sigmoid(z).reshape(2, 2, 1), {"layout": "HCW"}, "did you mean 'H?[CW]+'"),
    (Decoder(), {}, "Linen module Decoder without weights"),
    (3, {}, "got int, wanted a Linen, NNX"),
])
def test_what_does_not_fit_is_refused_in_one_line(model, options, message):
    with pytest.raises(InputError, match=message) as e:
        generators.wrap(model, latent_dim=4, num_classes=3, **options)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(("name", "message"), [
    ("wide", "take .x . 1. / 2"), ("broken", "the function fails: RuntimeError: no weights here"),
    ("number", r"got int, wanted a Generator; return generators.wrap"), ("ben", "did you mean 'gen'"),
    ("DIRECTIONS", "wanted a function")])
def test_a_name_that_is_no_generator_says_so(name, message):
    with pytest.raises(InputError, match=message):
        generators.load(f"{FILE}:{name}")


def test_a_function_and_a_value_are_the_same_generator():
    """Also when the file is read anew: pieces of work are found by what it draws, not by where it lies in memory."""
    made, value = generators.load(GEN), generators.load("tests.outside.small_images:value")
    np.testing.assert_array_equal(made(jnp.ones(6), 1), value(jnp.ones(6), 1))
    assert made is generators.load(GEN) and made.latent == Uniform(-1.0, 1.0)
    wrapping.own.cache_clear()
    for name in [m for m in sys.modules if m.startswith("_irob_user_")]:
        del sys.modules[name]
    again = generators.load(GEN)
    assert again is not made and whole(again) == whole(made)
    other = dataclasses.replace(made, name=made.name[:-1] + "x")
    assert whole(other) != whole(made)
    assert weights.checksum(GEN) == registry.source(GEN, kind="generator") == weights.checksum(f"{FILE}:value")


def test_what_is_saved_is_what_is_loaded(tmp_path):
    g = dataclasses.replace(generators.build("affine", key=jax.random.key(0), num_classes=3), latent=Truncated(1.5),
                            num_classes=2, label_of=(0, 1, 1))
    options = {"latent_dim": 10, "num_classes": 3, "image_shape": [4, 4, 1]}
    found = generators.load(generators.save(tmp_path / "g", g, options=options))
    assert (found.latent, found.label_of, found.num_classes) == (g.latent, g.label_of, 2)
    np.testing.assert_array_equal(found(jnp.ones(10), 2), g(jnp.ones(10), 2))
    with pytest.raises(InputError, match="can be saved; name your own as FILE.py:FUNCTION"):
        generators.save(tmp_path / "h", generators.load(GEN))
    assert not (tmp_path / "h").exists()


def test_codes_in_a_file_are_normal_ones(tmp_path):
    sample.main(sample.Config(generator=GEN, samples=60, out=str(tmp_path / "own.npz")))
    own = data.load(str(tmp_path / "own.npz"), "test")
    assert own.name == "own" and np.abs(own.z).max() > 1.5
    np.testing.assert_allclose(jax.vmap(small_images.draw)(small_images.gen().latent(own.z), own.y), own.x, atol=1e-5)
    fonts = tmp_path / "fonts.npz"
    sample.main(sample.Config(generator=f"{FILE}:fonts", samples=9, out=str(fonts)))
    with np.load(fonts) as file:
        assert file["component"].tolist() == [0, 1, 2] * 3 and file["y"].tolist() == [0, 1, 0] * 3


def test_own_generators_go_through_the_commands(tmp_path, capsys):
    estimate.main(estimate.Config(generator=GEN, samples=2, neighbours=3, trials=1, protocol="corrected",
                                  out=str(tmp_path / "estimate")))
    rows = json.loads((tmp_path / "estimate" / "estimate.json").read_text())
    assert {r["dataset"] for r in rows["rows"]} == {"own_gen"} and GEN in rows["provenance"]["weights"]
    limit.main(limit.Config(generator=GEN, samples=60, epsilon=["1"], grid=0, out=str(tmp_path / "limit")))
    attack.main(attack.Config(classifier=[MODEL], generator=GEN, attack=["pgd"], steps=2, samples=8,
                              epsilon=[0.5], examine=False, out=str(tmp_path / "attack")))
    assert "own_gen" in capsys.readouterr().out


def test_the_report_is_the_whole_page_for_an_own_model(tmp_path, monkeypatch, capsys):
    small(monkeypatch)
    sample.main(sample.Config(generator=GEN, samples=60, out=str(tmp_path / "my.npz")))
    report_door.main(report_door.Config(
        generator=GEN, dataset=str(tmp_path / "my.npz"), classifier=[MODEL], out=str(tmp_path / "report")))
    page = (tmp_path / "report" / "report.html").read_text()
    assert "small_images.py:model" in page and "small_images.py:gen" in page
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["rows"]
    assert {"label robustness", "intrinsic robustness", "robust accuracy"} <= {r["quantity"] for r in rows}
    with pytest.raises(InputError, match=r"got images \(8, 8, 1\), wanted \(28, 28, 1\) as the generator"):
        report_door.main(report_door.Config(dataset=str(tmp_path / "my.npz"), out=str(tmp_path / "other")))


def test_nothing_is_imported_to_recognise_a_model():
    assert not models.is_a(3, "no.such.package")
