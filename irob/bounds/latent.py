"""Every bound here speaks of Gaussian codes; those of another law have to be made of them.

Those of a law of irob.core.latents are: its map from normal codes is a part of the generator, and so of its constants.
"""

from irob.core.check import InputError
from irob.core.latents import STANDARD, Law, Unknown, law

GAUSSIAN = STANDARD


def gaussian_latent(latent: Law | str, assume: bool = False) -> tuple[str, ...]:
    """The assumption that a bound has to record about a latent law: none if it is made of N(0, I).

    Args:
        latent: of the generator, `Generator.latent`, or its name.
        assume: take a law that is not known for Gaussian nevertheless; the bound is then no more than a comparison.

    Returns:
        Sentences for `Bound.assumptions`, empty for every law that is known.

    Raises:
        InputError: a law that is not known, and `assume` is false.

    >>> gaussian_latent("normal")
    ()
    >>> gaussian_latent("sphere", assume=True)
    ("latent codes are 'sphere' and are taken for N(0, I), which the theorem asks for: no bound",)
    """
    latent = law(latent)
    if not isinstance(latent, Unknown):
        return ()
    if not assume:
        raise InputError(f"latent codes: got {latent.name!r}, wanted 'normal' or a law of irob.core.latents, since "
                         "the bound rests on Gaussian isoperimetry; pass assume=True to record the assumption instead")
    return (f"latent codes are {latent.name!r} and are taken for N(0, I), which the theorem asks for: no bound",)
