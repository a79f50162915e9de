"""Adversarial examples are inevitable where densities are bounded, on the sphere and in the cube (Shafahi et al. 2019).

V is the largest density of a class with respect to the uniform distribution.  If a classifier gives some other label
to at least half of the space, then Pr[x of the class and everything within epsilon gets its label] is at most

    sphere S^(n-1), geodesic:   V sqrt(pi / 8) exp(-(n - 1) epsilon^2 / 2)        ("paper")
                                V Pr[polar angle >= pi / 2 + epsilon]             ("sharp", by Levy's exact caps)
    cube [0,1]^n, lp with p >= 2:   V exp(-pi epsilon^2) / (2 pi epsilon)         ("paper")
                                    V (1 - Phi(epsilon sqrt(2 pi)))               ("sharp").

The cube: Phi, coordinate by coordinate, carries N(0, I) to the uniform distribution and is (2 pi)^(-1/2)-Lipschitz.
Attained: the sphere by a half-sphere; the cube in the limit epsilon -> 0 by a half-cube, whose complement of the
expansion is 1/2 - epsilon.  V is unknown for images, and huge where they fill little of the cube: then it says nothing.

Reference: Shafahi, Huang, Studer, Feizi, Goldstein, "Are adversarial examples inevitable?", ICLR 2019,
https://arxiv.org/abs/1809.02104
"""

import numpy as np
from scipy.special import betainc, ndtr

from irob.core.check import InputError, integer, number, unknown

FORMS = ("sharp", "paper")


def shafahi_cube(epsilon, density: float, form: str = "sharp"):
    """Upper bound on the robustly right share of a class in the cube, under lp with p >= 2; never above 1.

    Args:
        epsilon: at least 0, in units of the cube's edge; arrays are allowed.
        density: V, at least 1.
        form: "sharp" or "paper".

    >>> round(shafahi_cube(0.5, 1.0), 3), round(shafahi_cube(0.5, 1.0, "paper"), 3)
    (0.105, 0.145)
    """
    e, v = _checked(epsilon, density, form)
    if form == "sharp":
        found = v * ndtr(-e * np.sqrt(2 * np.pi))
    else:
        with np.errstate(divide="ignore"):
            found = v * np.exp(-np.pi * e**2) / (2 * np.pi * e)
    return _plain(np.minimum(found, 1.0))


def shafahi_sphere(epsilon, density: float, n: int, form: str = "sharp"):
    """Upper bound on the robustly right share of a class on the unit sphere of R^n, geodesic; never above 1.

    Args:
        epsilon: angle, at least 0; arrays are allowed.
        density: V, at least 1.
        n: dimension of the space around, at least 2.
        form: "sharp" or "paper".

    >>> round(shafahi_sphere(0.1, 1.0, 500), 4), round(shafahi_sphere(0.1, 1.0, 500, "paper"), 4)
    (0.0127, 0.0517)
    """
    e, v = _checked(epsilon, density, form)
    n = integer("n", n, low=2)
    if form == "sharp":
        # Pr[angle >= pi/2 + e] = I(cos^2 e; (n - 1)/2, 1/2) / 2, nothing from e = pi/2 on
        found = v * betainc((n - 1) / 2, 0.5, np.cos(np.minimum(e, np.pi / 2)) ** 2) / 2
    else:
        found = v * np.sqrt(np.pi / 8) * np.exp(-(n - 1) * e**2 / 2)
    return _plain(np.minimum(found, 1.0))


def _checked(epsilon, density, form) -> tuple[np.ndarray, float]:
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    e = np.asarray(epsilon, np.float64)
    if not np.all(e >= 0):
        raise InputError(f"epsilon: got {epsilon!r}, wanted numbers >= 0")
    return e, number("density", density, low=1.0)  # a density's largest value is at least its mean, 1


def _plain(v):
    return float(v) if np.ndim(v) == 0 else v
