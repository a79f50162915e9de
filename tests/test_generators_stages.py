"""Down-sampling against PyTorch's interpolate, and its Lipschitz constant."""

import jax
import numpy as np
import pytest

from irob.core.check import InputError
from irob.generators.stages import Resize, matrix

MODES = {"area": {"mode": "area"}, "nearest": {"mode": "nearest"},
         "bilinear": {"mode": "bilinear", "align_corners": False}}


@pytest.mark.parametrize("method", Resize.METHODS)
@pytest.mark.parametrize(("before", "size"), [(32, 8), (16, 16), (21, 8)])
def test_equal_to_pytorch(method, before, size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).random((before, before, 3)).astype(np.float32)
    wanted = torch.nn.functional.interpolate(torch.tensor(x.transpose(2, 0, 1))[None], (size, size), **MODES[method])
    got = Resize(size, method, before)(x)
    np.testing.assert_allclose(got, wanted[0].numpy().transpose(1, 2, 0), atol=1e-6)


@pytest.mark.parametrize("method", Resize.METHODS)
def test_its_constant_is_its_operator_norm(method):
    stage = Resize(4, method, 12)
    rows = np.asarray(jax.jacobian(lambda x: stage(x.reshape(12, 12, 1)).ravel())(np.zeros(144, np.float32)))
    assert stage.lipschitz == pytest.approx(np.linalg.norm(rows, 2), rel=1e-5)
    np.testing.assert_allclose(matrix(4, method, 12).sum(axis=1), 1)


def test_known_constants():
    assert Resize(32, "nearest", 128).lipschitz == pytest.approx(1)
    assert Resize(32, "area", 128).lipschitz == pytest.approx(0.25)


def test_bad_sizes_are_said():
    with pytest.raises(InputError, match="size: got 64"):
        Resize(64, "area", 32)
    with pytest.raises(InputError, match="did you mean 'bilinear'"):
        Resize(8, "bilinar", 32)
