"""Eight simulated devices give what one device gives: attacks, sampled constants, callbacks to PyTorch."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from irob.core import batch, mesh

CODE = """
import sys
import jax, jax.numpy as jnp, numpy as np
from irob import attacks, classifiers, lipschitz
from irob.core import batch, mesh
from irob.core.batch import Work
from irob.core.threat import LpBall
from irob.core.types import Generator

rng = np.random.default_rng(0)
key = jax.random.key(0)
w, v = (rng.normal(size=s).astype(np.float32) / 8 for s in ((64, 16), (16, 4)))
x = rng.uniform(size=(13, 8, 8, 1)).astype(np.float32)
f = classifiers.from_function(lambda p, x: jnp.tanh((x.ravel() - 0.5) @ p[0]) @ p[1], (w, v), 4, (8, 8, 1))
y = np.asarray(jax.vmap(f)(x).argmax(1))
seen = []
def look(index, x):
    seen.append((x.shape[0], len(x.sharding.device_set), {s.data.shape[0] for s in x.addressable_shards}))
    return x
assert np.array_equal(batch.stream(look, x, chunk=5), x)
attack = attacks.build("pgd", LpBall("l2", 0.4), steps=6, restarts=2)
r = attacks.run(attack, key, f, x, y, work=Work(6))
out = {"x": r.x_adv, "success": r.success, "traces": attacks.program.chunk.compiled()._cache_size()}
u = rng.normal(size=(3, 16)).astype(np.float32)
g = Generator(u, lambda u, z, y: jnp.tanh(z @ u).reshape(4, 4, 1), 3, 1, (4, 4, 1))
z = rng.normal(size=(13, 3))
out["constants"] = lipschitz.sampled(key, g, z, 0, radius=0.5, neighbours=20, work=Work(100)).value
if "torch" in sys.argv:
    import torch
    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.tanh((x.flatten(1) - 0.5) @ torch.from_numpy(w)) @ torch.from_numpy(v)
    out["torch"] = attacks.run(attack, key, classifiers.from_torch(Net(), 4, (8, 8, 1)), x, y, work=Work(6)).x_adv
np.savez(sys.argv[1], seen=[[a, b, *c] for a, b, c in seen], **out)
"""


def test_eight_devices_give_what_one_gives(tmp_path):
    try:
        import torch  # noqa: F401
        words = ["torch"]
    except ImportError:
        words = []
    found = {}
    for count in (1, 8):
        env = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}", "JAX_PLATFORMS": "cpu",
               "TF_CPP_MIN_LOG_LEVEL": "2"}
        file = tmp_path / f"{count}.npz"
        subprocess.run([sys.executable, "-c", CODE, str(file), *words], env=env, check=True)
        found[count] = np.load(file)
    one, many = found[1], found[8]
    assert one["seen"].tolist() == [[5, 1, 5]] * 3  # three chunks of 5
    assert many["seen"].tolist() == [[8, 8, 1]] * 2  # two of 8, one example on each device
    assert one["traces"] == many["traces"] == 1
    np.testing.assert_array_equal(one["success"], many["success"])
    assert 0 < one["success"].sum() < 13
    for name in {"x", "constants", "torch"} & set(one.files):
        np.testing.assert_allclose(one[name], many[name], rtol=1e-5, atol=1e-5)  # same draws; the last bits are XLA's
    if words:
        np.testing.assert_allclose(one["x"], one["torch"], atol=1e-4)


def test_on_one_device_nothing_is_placed():
    if jax.device_count() > 1:
        pytest.skip("for one device")
    assert [mesh.whole(c) for c in (1, 3, 8)] == [1, 3, 8]
    tree = {"w": jax.numpy.ones(3)}
    assert not mesh.everywhere(tree)["w"].committed
    shapes = []
    batch.stream(lambda i, x: shapes.append(x.shape) or x, np.ones((7, 2), np.float32), chunk=3)
    assert shapes == [(3, 2)] * 3
