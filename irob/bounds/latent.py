"""Every bound here speaks of Gaussian codes; a generator of another latent distribution has to say so."""

from irob.core.check import InputError

GAUSSIAN = "normal"


def gaussian_latent(latent: str, assume: bool = False) -> tuple[str, ...]:
    """The assumption that a bound has to record about a latent distribution: none if it is N(0, I).

    Args:
        latent: of the generator, `Generator.latent`.
        assume: take another distribution for Gaussian nevertheless; the bound is then no more than a comparison.

    Returns:
        Sentences for `Bound.assumptions`, empty for "normal".

    Raises:
        InputError: another distribution, and `assume` is false.

    >>> gaussian_latent("normal")
    ()
    >>> gaussian_latent("uniform", assume=True)
    ("latent codes are 'uniform' and are taken for N(0, I), which the theorem asks for: no bound",)
    """
    if latent == GAUSSIAN:
        return ()
    if not assume:
        raise InputError(f"latent codes: got {latent!r}, wanted 'normal', since the bound rests on Gaussian "
                         "isoperimetry; pass assume=True to record the assumption instead")
    return (f"latent codes are {latent!r} and are taken for N(0, I), which the theorem asks for: no bound",)
