"""All devices as one axis of examples.

What is divided over the devices are the examples; weights are on every one of them.  Nothing has to be written for
several devices: a compiled program whose examples are divided is divided by the compiler, and since every example has
a key of its own (`keys.for_examples`), the result is that of one device.  On one device everything here does nothing.
"""

import functools

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "examples"


@functools.cache
def devices() -> Mesh:
    """A mesh of every device of this process with the single axis "examples"."""
    return jax.make_mesh((count(),), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.local_devices())


def count() -> int:
    """How many devices there are.  A process works on its own ones; several processes divide the examples themselves.

    >>> count() == jax.local_device_count()
    True
    """
    return jax.local_device_count()


def shard(tree, mesh: Mesh):
    """Places a pytree of [n, ...] with n divided over the devices; n must be a multiple of their number."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def replicate(tree, mesh: Mesh):
    """Places a pytree on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def everywhere(tree):
    """Weights where every device finds them: moved once, not once a chunk."""
    return jax.device_put(tree) if count() == 1 else replicate(tree, devices())


def replicated() -> NamedSharding | None:
    """The placement of what every device holds whole; None on one device, where nothing has to be said."""
    return None if count() == 1 else NamedSharding(devices(), PartitionSpec())


def divided(tree):
    """A chunk of examples, a pytree of [c, ...] on the host, with its share on each device; see `whole`."""
    return jax.tree.map(jax.numpy.asarray, tree) if count() == 1 else shard(tree, devices())


def whole(chunk: int) -> int:
    """The smallest multiple of the number of devices that is at least `chunk`."""
    return -(-chunk // count()) * count()
