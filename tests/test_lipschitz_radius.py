"""The smallest radius of the proviso, against roots that are known."""

import jax
import numpy as np
import pytest
from scipy.optimize import brentq

from irob import lipschitz
from irob.core.check import InputError
from irob.generators import affine, sphere
from irob.lipschitz.radius import RadiusPlan, smallest_radius

CURVES = {
    "constant": lambda r: 5.0, "affine": lambda r: 2.0 + 3 * r, "steep": lambda r: 0.1 + r**3,
    "saturating": lambda r: 4.0 - np.exp(-3 * r),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("start", [1e-3, 0.7, 30.0])
def test_the_root_from_above(name, start):
    curve, epsilon = CURVES[name], 2.0
    root = brentq(lambda r: r * curve(r) - epsilon, 1e-9, 100)
    found = smallest_radius(curve, epsilon, start=start, most=40)
    assert root * (1 - 1e-9) <= found.radius <= root * 1.011
    assert found.radius * found.constant >= epsilon * (1 - 1e-12)
    assert found.constant == pytest.approx(curve(found.radius))


def test_constants_that_are_not_monotone():
    """Found constants may fall where the search is unlucky; what was found within a smaller ball still counts."""
    found = smallest_radius(lambda r: 3.0 if 0.45 < r < 0.55 else 2.0, 1.2, start=0.5)
    assert found.radius * found.constant >= 1.2 and found.radius <= 0.5


def test_affine_is_closed_form(key):
    g = affine.build(key=jax.random.key(5), latent_dim=6, singular_values=np.linspace(0.2, 0.8, 6))
    z = jax.random.normal(key, (3, 6))
    for epsilon in (0.1, 2.0):
        found = lipschitz.auto_radius(key, g, z, 0, epsilon=epsilon)
        assert found.radius == pytest.approx(epsilon / 0.8, rel=2e-3) and len(found.tried) <= 3
        assert found.radius * found.constant >= epsilon * (1 - 1e-6)


def test_sphere_is_closed_form(key):
    """The largest constant is that of the code nearest to the centre."""
    g = sphere.build(key=jax.random.key(5), latent_dim=6, image_shape=(3, 3, 1))
    z = 2 * jax.random.normal(key, (8, 6))
    root = brentq(lambda r: r * sphere.local_lipschitz(z, r).max() - 0.25, 1e-3, 10.0)
    found = lipschitz.auto_radius(key, g, z, 0, epsilon=0.25, plan=RadiusPlan(tolerance=1e-3))
    assert found.radius == pytest.approx(root, rel=4e-3) and len(found.tried) <= 8
    known = lipschitz.auto_radius(
        key, g, z, 0, epsilon=0.25, plan=RadiusPlan(tolerance=1e-3), constants=lambda r: sphere.local_lipschitz(z, r))
    assert root * (1 - 1e-6) <= known.radius <= root * 1.0011


def test_bad_input(key):
    for bad in ({"epsilon": 0.0}, {"epsilon": np.nan}, {"start": 0.0}):
        with pytest.raises(InputError):
            smallest_radius(lambda r: 1.0, **{"epsilon": 1.0, "start": 1.0, **bad})
    with pytest.raises(InputError, match="smaller epsilon"):
        smallest_radius(lambda r: 0.0, 2.0, start=1.0)
    g = affine.build(key=jax.random.key(0))
    with pytest.raises(InputError):
        lipschitz.auto_radius(key, g, np.zeros((1, 10)), 0, epsilon=-1.0)
    for bad in ({"delta": 0.0}, {"confidence": 1.0}, {"steps": 0}):
        with pytest.raises(InputError):
            lipschitz.auto_radius(key, g, np.zeros((1, 10)), 0, epsilon=1.0, plan=RadiusPlan(**bad))
