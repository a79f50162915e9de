"""The sections of a report, a file each: what it measures, its sizes in each preset, and what the page shows of it.

    named(["classifiers", "my_package.robust:build"])      by name, or anybody's own
    default("mnist_gen")                                   those that a report on this data set has
"""

from collections.abc import Sequence

from irob.core import registry
from irob.core.check import InputError
from irob.evaluation.section import Section


def names() -> tuple[str, ...]:
    """The registered sections, in the order of the page.

    >>> names()
    ('label', 'classifiers', 'limits', 'samples', 'constants')
    """
    return tuple(s.name for s in _ordered([_built(name) for name in registry.names(__name__)]))


def named(wanted: Sequence[str]) -> tuple[Section, ...]:
    """These sections, in the order of the page.

    Raises:
        InputError: an unknown name; something else than a section.
    """
    return _ordered([_built(name) for name in dict.fromkeys(wanted)])


def default(dataset: str) -> tuple[Section, ...]:
    """The sections that a report on a data set has unless others are named."""
    return tuple(s for s in named(names()) if s.wanted(dataset))


def _built(name: str) -> Section:
    build = registry.factory(__name__, name, kind="section")
    with registry.failing(name, kind="section"):
        section = build()
    if not isinstance(section, Section):
        raise InputError(f"section {name!r}: got {type(section).__name__}, wanted an irob.evaluation.section.Section")
    return section


def _ordered(sections: Sequence[Section]) -> tuple[Section, ...]:
    return tuple(sorted(sections, key=lambda s: (s.place, s.name)))
