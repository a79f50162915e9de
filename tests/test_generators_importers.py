"""Importing the published layout: equal to an NCHW forward pass in PyTorch's conventions, and to PyTorch itself."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from irob import generators
from irob.core.check import InputError
from irob.generators import importers
from irob.generators.importers import acgan


@pytest.fixture(scope="module")
def state():
    """A state dict with weights large enough to matter and statistics that are not trivial."""
    rng = np.random.default_rng(0)
    out = {}
    for name, like in acgan.shapes(110).items():
        scale = 0.05 if name.startswith("fc.3") or "deconv" in name else 0.2
        a = rng.normal(size=like.shape) * scale
        if name.endswith("running_var"):
            a = np.abs(a) + 0.5
        elif name.startswith(tuple(acgan.NORMS)) and name.endswith("weight"):
            a = a + 1
        out[name] = a.astype(np.float32)
    return out | {f"{norm}.num_batches_tracked": np.int64(7) for norm in acgan.NORMS}


def codes():
    return jax.random.normal(jax.random.key(3), (6, 100)), jnp.arange(6)


def oracle(s, z, y):
    """The published forward pass written with channels first, in float64 and without this package's layers."""
    s = {k: np.asarray(v, np.float64) for k, v in s.items()}

    def norm(h, name):
        shape = (1, -1) + (1,) * (h.ndim - 2)
        mean, var, scale, bias = (s[f"{name}.{p}"].reshape(shape)
                                  for p in ("running_mean", "running_var", "weight", "bias"))
        return np.maximum((h - mean) / np.sqrt(var + 1e-5) * scale + bias, 0)

    def upsample(h, name):
        n, _, rows, columns = h.shape
        w = s[f"{name}.weight"]
        out = np.zeros((n, w.shape[1], 2 * rows + 2, 2 * columns + 2))
        for i in range(rows):
            for j in range(columns):
                out[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum("nc,cokl->nokl", h[:, :, i, j], w)
        return out[:, :, 1:-1, 1:-1] + s[f"{name}.bias"][None, :, None, None]

    h = np.concatenate([np.asarray(z, np.float64), np.eye(10)[np.asarray(y)]], axis=1)
    h = norm(h @ s["fc.0.weight"].T + s["fc.0.bias"], "fc.1")
    h = norm(h @ s["fc.3.weight"].T + s["fc.3.bias"], "fc.4").reshape(-1, 128, 7, 7)
    h = norm(upsample(h, "deconv.0"), "deconv.1")
    return (np.tanh(upsample(h, "deconv.3")).transpose(0, 2, 3, 1) + 1) / 2


def test_equal_to_the_published_forward_pass(state):
    z, y = codes()
    with jax.default_matmul_precision("float32"):
        got = np.asarray(jax.vmap(acgan.convert(state))(z, y))
    wanted = oracle(state, z, y)
    assert wanted.std() > 0.1  # the comparison would be empty if tanh were flat or saturated everywhere
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_equal_to_pytorch(state, tmp_path):
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Twin(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Sequential(nn.Linear(110, 1024), nn.BatchNorm1d(1024), nn.ReLU(),
                                    nn.Linear(1024, 6272), nn.BatchNorm1d(6272), nn.ReLU())
            self.deconv = nn.Sequential(nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.ReLU(),
                                        nn.ConvTranspose2d(64, 1, 4, 2, 1), nn.Tanh())

        def forward(self, z, onehot):
            return self.deconv(self.fc(torch.cat([z, onehot], 1)).view(-1, 128, 7, 7))

    twin = Twin().eval()
    twin.load_state_dict({k: torch.as_tensor(np.array(v)) for k, v in state.items()})
    torch.save(twin.state_dict(), tmp_path / "twin.pt")
    z, y = codes()
    with torch.no_grad():
        out = twin(torch.as_tensor(np.array(z)), torch.eye(10)[torch.as_tensor(np.array(y)).long()]).numpy()
    got = jax.vmap(importers.load("acgan", tmp_path / "twin.pt"))(z, y)
    np.testing.assert_allclose(got, (out.transpose(0, 2, 3, 1) + 1) / 2, atol=1e-5)

    torch.save(nn.Linear(1, 1), tmp_path / "pickle.pt")  # a whole object could run code when it is read
    with pytest.raises(InputError, match="not a state dict that is safe to read"):
        importers.load("acgan", tmp_path / "pickle.pt")


def brain(a: np.ndarray) -> np.ndarray:
    """bfloat16 as safetensors stores it: the upper half of float32, u16."""
    return (np.ascontiguousarray(a, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def test_half_precision_is_read(state, tmp_path):
    """bfloat16 and float16, as safetensors, PyTorch and NumPy store them: each the float32 with the same value."""
    torch, kinds = pytest.importorskip("torch"), {"BF16": "bfloat16", "F16": "float16"}
    small = {k: np.asarray(state[k]) for k in ("fc.0.bias", "fc.3.bias", "fc.1.num_batches_tracked")}
    for kind, name in kinds.items():
        tensors = {k: torch.as_tensor(v).to(getattr(torch, name)) if v.dtype == np.float32 else torch.as_tensor(v)
                   for k, v in small.items()}
        wanted = {k: t.to(torch.float32).numpy() if t.is_floating_point() else t.numpy() for k, t in tensors.items()}
        torch.save(tensors, tmp_path / "half.pt")
        plain = {k: brain(w) if kind == "BF16" else w.astype(np.float16) for k, w in wanted.items() if w.ndim}
        head = {k: {"dtype": kind, "shape": list(a.shape), "data_offsets": [0, 0]} for k, a in plain.items()}
        end, body = 0, b""
        for k, a in plain.items():
            head[k]["data_offsets"], body = [end, end + a.nbytes], body + a.tobytes()
            end += a.nbytes
        text = json.dumps(head).encode()
        (tmp_path / "half.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)
        np.savez(tmp_path / "half.npz", **{k: w.astype(np.float16) for k, w in wanted.items() if w.ndim})
        for file in ("half.pt", "half.safetensors", *(["half.npz"] if kind == "F16" else [])):
            found = importers.read(tmp_path / file)
            for k in plain:
                assert found[k].dtype == np.float32
                np.testing.assert_array_equal(found[k], wanted[k], err_msg=f"{file} {kind} {k}")


def test_what_cannot_be_read_is_said_in_one_line(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"w": torch.zeros(3).to(torch.float8_e4m3fn)}, tmp_path / "w.pt")
    text = json.dumps({"w": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [0, 3]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"abc")
    np.savez(tmp_path / "w.npz", w=np.zeros(3, ml_dtypes.bfloat16))
    for name in ("w.pt", "w.safetensors", "w.npz"):
        with pytest.raises(InputError, match="w is stored as .*; store it as float32") as e:
            importers.read(tmp_path / name)
        assert "\n" not in str(e.value)


def test_a_bfloat16_file_is_imported(state, tmp_path):
    torch = pytest.importorskip("torch")
    half = {k: torch.as_tensor(np.array(v)) for k, v in state.items()}
    torch.save({k: t.bfloat16() if t.is_floating_point() else t for k, t in half.items()}, tmp_path / "s.pt")
    g = importers.load("acgan", tmp_path / "s.pt")
    rounded = {k: t.bfloat16().float().numpy() if t.is_floating_point() else t.numpy() for k, t in half.items()}
    jax.tree.map(np.testing.assert_array_equal, g.variables, acgan.convert(rounded).variables)


def test_command_writes_what_load_reads(state, tmp_path):
    np.savez(tmp_path / "s.npz", **state)
    done = irob("acgan", "--source", "s.npz", "--out", "w", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    z, y = codes()
    got = jax.vmap(generators.load(tmp_path / "w"))(z, y)
    np.testing.assert_array_equal(got, jax.vmap(acgan.convert(state))(z, y))


def test_bad_sources_end_in_one_line(state, tmp_path):
    wrong = {("fc.00.weight" if k == "fc.0.weight" else k): v for k, v in state.items()}
    np.savez(tmp_path / "wrong.npz", **wrong)
    done = irob("acgan", "--source", "wrong.npz", "--out", "w", cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "missing: ['fc.0.weight']" in done.stderr and "surplus: ['fc.00.weight']" in done.stderr
    assert not (tmp_path / "w").exists()


def test_what_is_wrong_is_said(state, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        importers.load("acgan", tmp_path / "none.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match="cut.npz"):
        importers.load("acgan", tmp_path / "cut.npz")
    (tmp_path / "cut.safetensors").write_bytes(b"12345678")
    with pytest.raises(InputError, match="not a safetensors"):
        importers.load("acgan", tmp_path / "cut.safetensors")
    with pytest.raises(InputError, match="kind of file"):
        importers.load("acgan", tmp_path / "x.pkl")
    with pytest.raises(InputError, match="did you mean 'acgan'"):
        importers.load("acgn", tmp_path / "x.npz")
    np.savez(tmp_path / "nan.npz", **{**state, "fc.0.bias": np.full(1024, np.nan, np.float32)})
    with pytest.raises(InputError, match="fc.0.bias holds NaN"):
        importers.load("acgan", tmp_path / "nan.npz")
    np.savez(tmp_path / "label.npz", **state)
    with pytest.raises(InputError, match="got the names of layout acgan, wanted gan; use: .* import acgan"):
        importers.load("gan", tmp_path / "label.npz")
    np.savez(tmp_path / "shape.npz", **{**state, "fc.0.weight": np.zeros((1024, 90), np.float32)})
    with pytest.raises(InputError, match=r"fc.0.weight has shape \(1024, 90\), wanted \(1024, 110\)"):
        importers.load("acgan", tmp_path / "shape.npz")


def irob(*arguments, cwd):
    command = [sys.executable, "-m", "irob", "import", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
