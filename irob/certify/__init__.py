"""Certifiers: build one by name, run it over many examples."""

from irob.core import registry

CHUNK = 16


def build(name: str, **options):
    """The certifier `name`."""
    return registry.module("irob.certify", name, kind="certifier").build(**options)


def run(certifier, classifier, x, y, threat, *, chunk=None, label=""):
    """Hands over to the certifier's own run."""
    return certifier.run(classifier, x, y, threat, chunk=chunk, label=label)
