"""Certifiers: build one by name."""

from irob.core import registry


def names() -> tuple[str, ...]:
    """The certifiers there are.

    >>> "dual" in names()
    True
    """
    return registry.names("irob.certify")


def build(name: str, **options):
    """The certifier `name`."""
    return registry.module("irob.certify", name, kind="certifier").build(**options)
