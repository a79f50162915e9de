"""irob: how robust can any classifier be on a given image distribution?

Rooms are imported when they are first used, so that `import irob.bounds` stays light.
"""

import importlib

__version__ = "0.1.0"
_ROOMS = (
    "attacks", "bounds", "certify", "checkpoint", "classifiers", "core", "data",
    "evaluation", "generators", "lipschitz", "math", "report", "training",
)


def __getattr__(name):
    if name in _ROOMS:
        return importlib.import_module(f"irob.{name}")
    raise AttributeError(f"module 'irob' has no attribute {name!r}; it has {', '.join(_ROOMS)}")


def __dir__():
    return sorted([*globals(), *_ROOMS])
