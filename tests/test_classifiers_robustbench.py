"""Models of RobustBench, by name, with weights from a file.

The package is installed without its dependencies, of which torchvision has no build for every PyTorch: what is missing
is an empty stand-in here, since only networks that need PyTorch alone are made.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

import jax
import numpy as np
import pytest

from irob import classifiers
from irob.classifiers import robustbench
from irob.core.check import InputError
from irob.evaluation import users

torch = pytest.importorskip("torch")
for package in ("robustbench", "torchax"):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

ABSENT = ("autoattack", "gdown", "geotorch", "pandas", "pkg_resources", "PIL", "requests", "timm", "torchdiffeq",
          "torchvision", "yaml")


def anything(_, name):
    """A class that takes anything, may be a base class or a decorator, and has such classes in it."""
    if name.startswith("__"):
        raise AttributeError(name)
    return Anything(name, (), {"__init__": lambda self, *a, **k: None, "__call__": lambda self, f: f})


class Anything(type):
    __getattr__ = anything


class StandIn(types.ModuleType):
    """A package of which nothing is there."""

    __path__ = ()
    __getattr__ = anything


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stand-ins for what is not installed."""

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in ABSENT else None

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        pass


@pytest.fixture(scope="module", autouse=True)
def dependencies():
    """After the real ones: a stand-in is taken only where nothing else is found."""
    finder = Finder()
    sys.meta_path.append(finder)
    yield
    sys.meta_path.remove(finder)
    for name in [n for n, m in sys.modules.items() if isinstance(m, StandIn) or n.split(".")[0] == "robustbench"]:
        del sys.modules[name]


SMALL = {  # a wide residual network and a ResNeXt, shallow here, and how training wrapped their weights
    "Hendrycks2020AugMix_WRN": ({"depth": 10, "widen_factor": 1},
                                lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}}),
    "Hendrycks2020AugMix_ResNeXt": ({"depth": 11, "cardinality": 2, "base_width": 4}, lambda state: {"last": state}),
}


@pytest.mark.parametrize("name", SMALL)
def test_logits_are_those_of_the_weights_in_the_file(name, tmp_path, monkeypatch):
    spec, (sizes, wrapped) = f"robustbench:corruptions/{name}", SMALL[name]
    large = robustbench.factory(f"corruptions/{name}")
    monkeypatch.setattr(robustbench, "factory", lambda name: lambda: large(**sizes))
    torch.manual_seed(0)
    model = large(**sizes)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.01 * torch.randn_like(p))
    state = {k: v for k, v in model.state_dict().items() if k not in ("mu", "sigma")}  # as the published files are
    torch.save(wrapped(state), tmp_path / "weights.pt")
    f = classifiers.wrap(users.make(spec, str(tmp_path / "weights.pt")), image_shape=(32, 32, 3))
    assert f.num_classes == 10 and type(f.module.call).__name__ == "Traced"
    x = np.random.default_rng(1).uniform(size=(2, 32, 32, 3)).astype(np.float32)
    want = model.eval()(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).detach().numpy()
    np.testing.assert_allclose(jax.jit(jax.vmap(f))(x), want, rtol=1e-3, atol=1e-3 * np.abs(want).max())


def test_bad_names_and_files_are_one_line(tmp_path):
    for name, said in (("Linf/Rice2020Overfiting", "did you mean 'Rice2020Overfitting'"), ("Lif/x", "'Linf'"),
                       ("cifar11/Linf/x", "cifar10"), ("Rice2020Overfitting", "threat"),
                       ("Linf/Rice2020Overfitting", "weights"), ("L2/Wang2023Better_WRN-28-100", "did you mean")):
        with pytest.raises(InputError, match=said) as e:
            users.make(f"robustbench:{name}", "")
        assert "\n" not in str(e.value)
    name = "robustbench:corruptions/Hendrycks2020AugMix_WRN"
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "other.pt")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    for file, said in (("other.pt", "another model"), ("broken.pt", "cannot be read"), ("none.pt", "wanted its check")):
        with pytest.raises(InputError, match=said) as e:
            users.make(name, str(tmp_path / file))
        assert "\n" not in str(e.value)
