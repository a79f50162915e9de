"""A model of another library as call(variables, *inputs): its arrays apart from what is static of it.

Linen, NNX, Equinox and plain functions.  What is static is compared by value, so that a rebuilt model is not traced
again.  Nothing is imported to recognise a model: one of a library exists only where the library has been imported.
"""

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

from irob.core.check import InputError


@dataclasses.dataclass(frozen=True)
class Linen:
    """A Flax Linen module; arguments: further keywords of its call."""

    module: Any
    arguments: tuple[tuple[str, Any], ...] = ()

    def __call__(self, variables, *inputs):
        return self.module.apply(variables, *inputs, **dict(self.arguments))


@dataclasses.dataclass(frozen=True)
class NNX:
    """A Flax NNX module; its state stands in the place of variables."""

    graph: Any

    def __call__(self, state, *inputs):
        from flax import nnx

        return nnx.merge(self.graph, state)(*inputs)


@dataclasses.dataclass(frozen=True)
class Equinox:
    """An Equinox module; variables: (its arrays, its state).  stateful: it is called with the state and gives one."""

    static: Any
    stateful: bool

    def __call__(self, variables, *inputs):
        import equinox as eqx

        arrays, state = variables
        model = eqx.combine(arrays, self.static)
        return model(*inputs, state)[0] if self.stateful else model(*inputs)


@dataclasses.dataclass(frozen=True)
class Plain:
    """A function without variables."""

    function: Callable

    def __call__(self, _, *inputs):
        return self.function(*inputs)


def linen(module, variables, what: str, **arguments) -> tuple[Linen, Any]:
    """(call, variables) of a Linen module with its variables, or of a bound one.  what: the word for it in errors."""
    if variables is None and module.scope is not None:
        module, variables = module.unbind()
    if variables is None:
        raise InputError(f"{what}: got the Linen module {type(module).__name__} without weights, "
                         "wanted variables=, or the pair (module, variables)")
    return Linen(module, tuple(sorted(arguments.items()))), variables


def nnx(module) -> tuple[NNX, Any]:
    """(call, state) of a copy of an NNX module in inference mode."""
    from flax import nnx

    module = nnx.clone(module)
    module.eval()
    graph, state = nnx.split(module)
    return NNX(graph), state


def equinox(module, state=None) -> tuple[Equinox, Any]:
    """(call, (arrays, state)) of an Equinox module in inference mode."""
    import equinox as eqx

    arrays, static = eqx.partition(eqx.nn.inference_mode(module), eqx.is_array)
    return Equinox(static, state is not None), (arrays, state)


def plain(function: Callable, variables) -> tuple[Callable, Any]:
    """(call, variables) of function(variables, *inputs), or of function(*inputs) where variables are None."""
    return (Plain(function), ()) if variables is None else (function, variables)


def is_a(model, package: str, kind: str = "Module") -> bool:
    """isinstance without an import.

    >>> is_a(1, "torch.nn")
    False
    """
    found = vars(sys.modules[package]).get(kind) if package in sys.modules else None
    return found is not None and isinstance(model, found)
