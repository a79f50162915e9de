"""A PyTorch module as a function of JAX: values, derivatives, vmap, whatever goes in."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob.core import pytorch
from irob.core.check import InputError

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchax") is None:  # importing it needs what `as_function` mends
    pytest.skip("torchax is not installed", allow_module_level=True)
RNG = np.random.default_rng(0)


class Generator(torch.nn.Module):
    """(z, y) -> images in [-1, 1], of everything that such generators are made of; some tensors made on the way."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(3, 4)
        self.first = torch.nn.Linear(8, 4 * 2 * 2)
        self.norms = torch.nn.ModuleList([torch.nn.BatchNorm2d(4), torch.nn.BatchNorm2d(5)])
        self.up = torch.nn.ModuleList([torch.nn.ConvTranspose2d(4, 5, 4, 2, 1), torch.nn.ConvTranspose2d(5, 2, 3, 2)])
        self.last = torch.nn.Conv2d(2, 3, 3, padding=1, groups=1, bias=False)
        for norm in self.norms:
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)

    def forward(self, z, y):
        h = self.first(torch.cat([z, self.table(y)], 1)).view(-1, 4, 2, 2)
        for norm, up in zip(self.norms, self.up):
            h = up(torch.relu(norm(h)))
        return torch.tanh(self.last(h)) * torch.ones(1, 3, 1, 1)


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    module = Generator()
    z, y = RNG.normal(size=(3, 4)).astype(np.float32), np.array([2, 0, 1])
    return module.eval(), z, y, *pytorch.as_function(module.train(), z, y)


def test_a_generator_is_pytorchs(generator):
    """Images, and a Jacobian by forward and by backward derivatives, against PyTorch's."""
    module, z, y, variables, apply = generator
    module.eval()
    images = jax.jit(jax.vmap(apply, (None, 0, 0)))(variables, z, y)
    np.testing.assert_allclose(images, module(torch.from_numpy(z), torch.from_numpy(y)).detach(), atol=1e-5)
    one = lambda z: apply(variables, z, y[0])  # noqa: E731
    want = torch.autograd.functional.jacobian(
        lambda z: module(z[None], torch.from_numpy(y[:1]))[0], torch.from_numpy(z[0]))
    for derivative in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(jax.jit(derivative(one))(z[0]), want, rtol=1e-3, atol=1e-5)


def test_weights_are_arguments(generator):
    """The program has no copy of them: with other weights it is another function."""
    _, z, y, variables, apply = generator
    still = apply(jax.tree.map(jnp.zeros_like, variables), z[0], y[0])
    np.testing.assert_array_equal(still, jnp.zeros_like(still))
    assert not np.all(apply(variables, z[0], y[0]) == 0)


@pytest.mark.parametrize("options", [
    {}, {"stride": 2, "padding": 1}, {"stride": (1, 2), "padding": (0, 1)}, {"groups": 2}, {"dilation": 2},
    {"padding": "same"}, {"kernel_size": (3, 2), "stride": 2}, {"padding": 1, "padding_mode": "reflect"}])
def test_every_convolution_is_pytorchs(options):
    """Those that irob's own convolution does, and those that are left to torchax; `as_function` compares."""
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3, **options})
    x = RNG.normal(size=(2, 4, 6, 7)).astype(np.float32)
    variables, apply = pytorch.as_function(layer, x)
    np.testing.assert_allclose(jax.vmap(apply, (None, 0))(variables, x), layer(torch.from_numpy(x)).detach(), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"padding": 1}, {"output_padding": 1}, {"bias": False}])
def test_every_transposed_convolution_is_pytorchs(options):
    torch.manual_seed(0)
    layer = torch.nn.ConvTranspose2d(4, 6, 4, stride=2, **options)
    x = RNG.normal(size=(2, 4, 3, 5)).astype(np.float32)
    variables, apply = pytorch.as_function(layer, x)
    np.testing.assert_allclose(jax.vmap(apply, (None, 0))(variables, x), layer(torch.from_numpy(x)).detach(), atol=1e-5)


def test_what_differs_from_pytorch_is_refused():
    """torchax 0.0.13 mixes the groups of a transposed convolution up; should that be mended, it belongs above."""
    with pytest.raises(InputError, match="output that differs"):
        pytorch.as_function(torch.nn.ConvTranspose2d(4, 6, 4, groups=2), RNG.normal(size=(2, 4, 3, 3)))


def test_a_module_that_fails_is_one_line():
    with pytest.raises(InputError, match="fails on inputs .*RuntimeError") as e:
        pytorch.as_function(torch.nn.Linear(4, 3), np.zeros((2, 5), np.float32))
    assert "\n" not in str(e.value)


def test_half_precision_and_modules_of_one_example():
    layer = torch.nn.Linear(4, 3).bfloat16()
    x = RNG.normal(size=(2, 4)).astype(np.float32)
    variables, apply = pytorch.as_function(layer, x, batched=False)
    assert apply(variables, x[0]).dtype == jnp.float32 and variables["module.weight"].dtype == jnp.bfloat16
    with pytest.raises(InputError, match="float64"):
        pytorch.as_function(torch.nn.Linear(4, 3).double(), x)
