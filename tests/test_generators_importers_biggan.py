"""Importing BigGAN: files on disk, the TF-Hub dump, the command, downloads, and what is wrong in one line."""

import functools
import http.server
import json
import re
import subprocess
import sys
import threading
from typing import ClassVar

import jax
import numpy as np
import pytest

from irob import generators
from irob.core.check import InputError
from irob.core.latents import Normal
from irob.generators import biggan, importers
from irob.generators.importers import _biggan, _layouts, biggan128, biggan_pytorch, biggan_tfhub, download


@functools.cache
def released(resolution=128, width=4, classes=1000):
    """A state dict with the names of biggan128-release.pt, small weights in every place."""
    a = biggan.standard(resolution, width, classes)
    rng = np.random.default_rng(0)
    state = {}
    for name, (shape, kind) in _biggan.wanted_names(a, biggan128.NAMES).items():
        value = rng.normal(size=shape) * (0.1 if kind == "weight" and len(shape) == 1 else 1)
        if name.endswith("vars"):
            value = np.abs(value) + 0.5
        if kind in ("u", "v"):
            value /= np.linalg.norm(value)
        state[name] = value.astype(np.float32)
    return state


def save(path, state):
    np.savez(path, **state)
    return path


def irob(*arguments, cwd):
    command = [sys.executable, "-m", "irob", "import", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_sigma_as_stored_as_iterated_and_exact():
    rng = np.random.default_rng(1)
    w, u, v = rng.normal(size=(5, 7)), rng.normal(size=5), rng.normal(size=7)
    assert _biggan._sigma(w, u, v) == pytest.approx(u @ w @ v)
    once = w.T @ u / np.linalg.norm(w.T @ u)
    assert _biggan._sigma(w, u, None) == pytest.approx(np.linalg.norm(w @ once))
    assert _biggan._sigma(w, None, None) == pytest.approx(np.linalg.norm(w, 2))


def test_tensorflow_names_give_the_same_generator():
    """The same weights under TF-Hub's names; at a top singular vector both ways to sigma give the largest one."""
    a = biggan.standard(128, 4, 6)
    state = dict(released(classes=6))
    place = functools.partial(biggan_tfhub.prefix, deep=False)
    dump, stacks = {}, {}
    for part in _biggan.parts(a):
        ours, theirs = biggan128.prefix(part.path), f"module/{place(part.path)}"
        if part.kind == "statistics":
            for end in ("means", "vars"):
                # As in the graph, other stacks stand between those that hold statistics.
                number = 10 * (len(stacks) // 4) + (1, 3, 6, 8)[len(stacks) % 4]
                stacks[f"module_apply_default/stack_{number}:0"] = state[f"{ours}.standing_{end}"]
        elif part.kind == "table":
            dump[f"{theirs}/ema_b999900:0"] = state[ours]
        elif part.kind == "vector":
            dump[f"{theirs}/ema_b999900:0"] = state[ours].reshape(1, 1, 1, -1)
            dump[f"{theirs}:0"] = np.zeros((1, 1, 1, 4), np.float32)  # what the average is taken of
        elif part.kind == "scalar":
            dump[f"{theirs}/ema_b999900:0"] = state[ours].reshape(())
        else:
            w = state[f"{ours}.weight_orig"]
            u, _, v = np.linalg.svd((w.transpose(0, 2, 3, 1) if w.ndim == 4 else w).reshape(len(w), -1))
            state |= {f"{ours}.weight_u": u[:, 0], f"{ours}.weight_v": v[0]}
            dump[f"{theirs}/u0:0"], dump[f"{theirs}/u1:0"] = u[None, :, 0], v[:1]
            dump[f"{theirs}/w/ema_b999900:0"] = w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T
            if part.bias:
                dump[f"{theirs}/b/ema_b999900:0"] = state[f"{ours}.bias"]
    dump["module_apply_default/stack:0"] = np.arange(3)
    notes: list[str] = []
    h = biggan_tfhub.convert({**dump, **stacks}, notes=notes)
    assert notes == []
    g = biggan128.convert(state)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-6), g.variables, h.variables)
    accumulated = {}
    for part in _biggan.parts(a):
        if part.kind == "statistics":
            accumulated |= {f"module/{place(part.path)}/accumulated_{m}:0": np.ones(part.shape, np.float32)
                            for m in ("mean", "var")}
    h = biggan_tfhub.convert({**dump, **accumulated}, notes=notes)
    assert h.module.layout.statistics == 1 and "one truncation" in notes[0]
    short = dict(list(stacks.items())[:-2])
    with pytest.raises(InputError, match="20 stack arrays of statistics, wanted 22"):
        biggan_tfhub.convert({**dump, **short})


def test_the_published_file_to_ten_classes(tmp_path):
    """biggan128-release.pt, as a file of the same layout with random weights."""
    torch = pytest.importorskip("torch")
    torch.save({k: torch.tensor(v) for k, v in released().items()}, tmp_path / "biggan128-release.pt")
    done = irob("biggan128", "--source", "biggan128-release.pt", "--classes", "imagenet10", "--out", "g", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "10 classes, 32x32 pixels" in done.stdout
    config = json.loads((tmp_path / "g" / "config.json").read_text())
    imported = config["recipe"]["imported"]
    assert imported["sha256"] == importers.checksum(tmp_path / "biggan128-release.pt")
    assert config["options"]["classes"] == list(biggan.IMAGENET10) and config["options"]["resize"] == "area"
    g = generators.load(tmp_path / "g")
    assert (g.num_classes, g.image_shape, g.latent) == (10, (32, 32, 3), Normal())
    whole = biggan128.convert(released())
    np.testing.assert_array_equal(g.variables["params"]["rgb"]["kernel"], whole.variables["params"]["rgb"]["kernel"])


def one_line(done, *words):
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(("options", "words"), [
    (["--truncation", "1.5"], ["truncation: got 1.5, wanted a number in (0, 1]"]),
    (["--classes", "3", "1000"], ["class: got 1000, wanted one in [0, 999]"]),
    (["--size", "64", "--resize", "cubic"], ["unknown resize 'cubic'"]),
    (["--config", "none.json"], ["has no configuration of its own"]),
])
def test_bad_options_write_nothing(options, words, tmp_path):
    save(tmp_path / "s.npz", released())
    one_line(irob("biggan128", "--source", "s.npz", "--out", "w", *options, cwd=tmp_path), *words)
    assert not (tmp_path / "w").exists()


def test_another_layout_is_named(tmp_path):
    save(tmp_path / "s.npz", released(256))
    done = irob("biggan128", "--source", "s.npz", "--out", "w", cwd=tmp_path)
    one_line(done, "got the names of layout biggan256, wanted biggan128", "python -m irob import biggan256")
    assert not (tmp_path / "w").exists()
    with pytest.raises(InputError, match="layout biggan128, wanted biggan_deep128"):
        importers.load("biggan_deep128", save(tmp_path / "t.npz", released()))
    with pytest.raises(InputError, match="layout biggan128, wanted biggan_pytorch"):
        importers.load("biggan_pytorch", tmp_path / "t.npz")
    assert _layouts.looks_like({"something.weight": np.zeros(1)}) is None


def test_a_damaged_file_is_said(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"linear.weight": torch.zeros(4, 4)}, tmp_path / "s.pt")
    whole = (tmp_path / "s.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    done = irob("biggan128", "--source", "cut.pt", "--out", "w", cwd=tmp_path)
    one_line(done, "source 'cut.pt'", f"the file is cut off after {len(whole) // 2} bytes")
    assert not (tmp_path / "w").exists()
    (tmp_path / "text.pt").write_text("a page that says that the file is not here")
    with pytest.raises(InputError, match="it does not begin as PyTorch's files do"):
        importers.read(tmp_path / "text.pt")
    (tmp_path / "damaged.npz").write_bytes(save(tmp_path / "s.npz", {"a": np.zeros(9)}).read_bytes()[:100])
    with pytest.raises(InputError, match=r"not an \.npz file"):
        importers.read(tmp_path / "damaged.npz")


def test_what_is_missing_is_said():
    state = released()
    without = {k: v for k, v in state.items() if "standing" not in k}
    with pytest.raises(InputError, match="batch-norm statistics are missing .*: 22 names"):
        biggan128.convert(without)
    cut = {k: v for k, v in state.items() if k != "gblock_2.conv0.bias"} | {"gblock_2.conv0.bia": np.zeros(2)}
    lists = "missing: ['gblock_2.conv0.bias']; surplus: ['gblock_2.conv0.bia']"
    with pytest.raises(InputError, match=re.escape(lists)):
        biggan128.convert(cut)
    notes: list[str] = []
    g = biggan128.convert({k: v for k, v in state.items() if not k.endswith(("weight_u", "weight_v"))}, notes=notes)
    assert "largest singular value" in notes[0]
    kernel = np.asarray(g.variables["params"]["block_0"]["conv_0"]["kernel"])
    assert np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2) == pytest.approx(1, abs=1e-4)
    some = {k: v for k, v in state.items() if k != "conv_2d.weight_u"}
    with pytest.raises(InputError, match=re.escape("missing: ['conv_2d.weight_u']")):
        biggan128.convert(some)
    with pytest.raises(InputError, match="wanted the generator of BigGAN-PyTorch"):
        biggan_pytorch.convert({"linear.weight": np.zeros((2, 2))})


def test_configuration_must_agree(tmp_path):
    pytest.importorskip("torch")
    from tests.twins import biggan as twins

    made = twins.randomise(twins.Deep(128, 4, 5))
    save(tmp_path / "m.npz", {k: v.numpy() for k, v in made.state_dict().items()})
    a = biggan.deep(128, 4, 5)
    config = {"output_dim": 128, "z_dim": 128, "channel_width": 4, "attention_layer_position": 8, "n_stats": 51,
              "eps": 1e-4, "layers": [[up, i // 4, o // 4] for i, o, up in a.blocks]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert importers.load("biggan_deep128", tmp_path / "m.npz").module.layout == a
    (tmp_path / "other.json").write_text(json.dumps({**config, "channel_width": 128}))
    with pytest.raises(InputError, match="configuration has channel_width 128, its weights 4"):
        importers.load("biggan_deep128", tmp_path / "m.npz", config=tmp_path / "other.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="not a JSON file"):
        importers.load("biggan_deep128", tmp_path / "m.npz", config=tmp_path / "broken.json")


def test_statistics_under_other_names():
    ones = np.ones(2, np.float32)
    got = biggan_pytorch.standing({"a.bn1.bn.running_mean": ones, "a.bn2.bn.stored_var": 6 * ones,
                                   "a.bn2.bn.accumulation_counter": np.float32([3]), "b.stored_mean": 2 * ones})
    np.testing.assert_array_equal(got["a.bn1.stored_mean"], ones)
    np.testing.assert_array_equal(got["a.bn2.stored_var"], 2 * ones)
    np.testing.assert_array_equal(got["b.stored_mean"], 2 * ones)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one file, breaks off the first answer in the middle, and knows ranges."""

    content = bytes(range(256)) * 9000
    asked: ClassVar[list[str | None]] = []

    def do_GET(self):
        begin = int(self.headers["Range"][6:-1]) if self.headers["Range"] else 0
        self.asked.append(self.headers["Range"])
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(self.content) - begin))
        self.end_headers()
        rest = self.content[begin:]
        self.wfile.write(rest if begin else rest[: len(rest) // 2])

    def log_message(self, *_):
        pass


def test_a_download_goes_on_where_it_was(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/w.pt"
    try:
        with pytest.raises(InputError, match="bytes are kept and gone on from"):
            download.fetch(url, tmp_path)
        path = download.fetch(url, tmp_path)
        assert path.read_bytes() == Handler.content
        assert Handler.asked[-1] is not None
        before = len(Handler.asked)
        assert download.fetch(url, tmp_path, sha256=importers.checksum(path)) == path
        assert len(Handler.asked) == before  # it is there already
        with pytest.raises(InputError, match="wanted 00"):
            download.fetch(url, tmp_path, sha256="00")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    with pytest.raises(InputError, match="fetch the file on a machine with a network and pass --source"):
        download.fetch(url.replace("w.pt", "other.pt"), tmp_path)
