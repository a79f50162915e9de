"""Training on eight simulated devices ends where one device ends, up to the order of float32 sums."""

import json
import os
import subprocess
import sys

import numpy as np

CODE = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from irob import classifiers, data, training
from irob.core import mesh
from irob.training import fit

seen = set()
placed = fit._placed
def look(batch):
    batch = placed(batch)
    if not isinstance(batch.x, np.ndarray):
        seen.add((len(batch.x.sharding.device_set), batch.x.addressable_shards[0].data.shape[0]))
    return batch
fit._placed = look
train, test = (data.load("synthetic", s, count=64, num_classes=4, size=8) for s in ("train", "test"))
rng = np.random.default_rng(0)
net = classifiers.from_function(lambda p, x: jnp.tanh((x.ravel() - 0.5) @ p["a"]) @ p["b"], {
    k: jnp.asarray(rng.normal(size=s) / 8, jnp.float32) for k, s in (("a", (64, 16)), ("b", (16, 4)))}, 4, (8, 8, 1))
small = dict(init=net, epochs=2, evaluate_count=8, final_count=0, checkpoint_every=1,
             learning_rate=0.1, epsilon=0.3)
out = {}
for method, more in (("adv", {"steps": 3, "step_size": 0.1, "batch_size": 16}),
                     ("smooth", {"sigma": 0.1, "batch_size": 12})):  # eight divide the first batch, not the second
    made = training.train(method, train, key=jax.random.key(0), test=test, workdir=f"{sys.argv[1]}/{method}",
                          **small, **more)
    weights = jax.tree.leaves(made.classifier.variables)
    if method == "adv":  # resumed from its last checkpoint
        again = training.train(method, train, key=jax.random.key(0), test=test, workdir=f"{sys.argv[1]}/{method}",
                               **small, **more, resume=True)
        assert all(np.array_equal(a, b) for a, b in zip(weights, jax.tree.leaves(again.classifier.variables)))
    assert {len(w.sharding.device_set) for w in weights} == {mesh.count()}
    assert not any(np.array_equal(a, b) for a, b in zip(weights, jax.tree.leaves(net.variables)))
    out[method] = [np.asarray(w).ravel().tolist() for w in weights]
    out[f"{method} natural"] = made.recipe["natural"]
print(json.dumps({"seen": sorted(seen), **out}))
"""


def test_eight_devices_train_what_one_trains(tmp_path):
    found = {}
    for count in (1, 8):
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
        env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
        done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path / str(count))], env=env, check=True,
                              capture_output=True, text=True)
        found[count] = json.loads(done.stdout)
    one, many = found[1], found[8]
    assert one["seen"] == [] and many["seen"] == [[8, 2]]  # two examples on each device
    for method in ("adv", "smooth"):
        for a, b in zip(one[method], many[method], strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
        assert one[f"{method} natural"] == many[f"{method} natural"]
