"""All devices as one axis of examples.

The arrays that are sharded are the examples; weights are replicated.  On one device both are no-ops.
"""

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "examples"


def devices() -> Mesh:
    """A mesh of every device with the single axis "examples"."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def shard(tree, mesh: Mesh):
    """Places a pytree of [n, ...] with n divided over the devices; n must be a multiple of their number."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(AXIS)))


def replicate(tree, mesh: Mesh):
    """Places a pytree on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))
