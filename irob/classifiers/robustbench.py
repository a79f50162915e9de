"""Models of RobustBench by name, with weights from a local file: nothing is downloaded.

    module = load("robustbench:Linf/Rice2020Overfitting", "Rice2020Overfitting.pt")
    f = classifiers.wrap(module, image_shape=(32, 32, 3))

The names are those of its model zoo: THREAT/NAME of CIFAR-10, or cifar100/THREAT/NAME, imagenet/THREAT/NAME.

Reference: Croce et al., "RobustBench: a standardized adversarial robustness benchmark", NeurIPS 2021.
"""

import importlib
import pathlib
from collections.abc import Callable
from typing import Any

from irob.core.check import InputError, one_line, unknown

PREFIX = "robustbench:"
WRAPPED = ("module.", "model.")  # what training put before the names of weights
FIXED = ("mu", "sigma", "mean", "std")  # statistics of images: the model has them, old files have not


def load(name: str, file: str) -> Any:
    """The PyTorch module `name`, in inference mode, with the weights of a file.

    Args:
        name: robustbench:THREAT/NAME or robustbench:DATASET/THREAT/NAME.
        file: the checkpoint as RobustBench keeps it, read without running code of the file.

    Raises:
        InputError: robustbench does not load; an unknown name, or one of several files; weights that do not fit.
    """
    make = factory(name.removeprefix(PREFIX))
    if not file or not pathlib.Path(file).is_file():
        raise InputError(f"weights: got {file!r} for {name}, wanted its checkpoint; give --weights FILE")
    weights = _weights(file)
    model = make()
    _fill(model, weights, f"weights {file}")
    return model.eval()


def factory(name: str) -> Callable[[], Any]:
    """What makes the module of DATASET/THREAT/NAME, with fresh weights."""
    try:
        zoo = importlib.import_module("robustbench.model_zoo.models").model_dicts
    except Exception as e:  # of its many dependencies, whatever is missing or does not fit
        raise InputError(f"robustbench: does not load ({one_line(e)}); pip install 'irob[robustbench]'") from e
    *where, last = name.split("/")
    dataset, threat = (["cifar10", *where] if len(where) < 2 else where)[-2:] if where else ("cifar10", "")
    tables = {d.value: {t.value: models for t, models in threats.items()} for d, threats in zoo.items()}
    if dataset not in tables:
        raise unknown("data set of robustbench", dataset, tables)
    if threat not in tables[dataset]:
        raise unknown("threat of robustbench", threat, tables[dataset])
    known = tables[dataset][threat]
    if last not in known:
        raise unknown(f"model of robustbench {dataset}/{threat}", last, known)
    if isinstance(known[last]["gdrive_id"], list):
        raise InputError(f"robustbench: got {last}, an ensemble whose weights lie in several files; wanted one model")
    return known[last]["model"]


def _weights(file: str) -> dict[str, Any]:
    """The weights by name, whatever they are wrapped in."""
    import torch

    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as e:  # a damaged file, or one that wants to run code
        raise InputError(f"weights {file}: cannot be read as weights alone: {one_line(e)}") from e
    for key in ("last", "state_dict"):
        found = found[key] if isinstance(found, dict) and isinstance(found.get(key), dict) else found
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise InputError(f"weights {file}: got {type(found).__name__}, wanted tensors by name")
    return found


def _fill(model, weights: dict[str, Any], what: str) -> None:
    """Puts the weights into the model; every one of the model's own must be there."""
    own = model.state_dict()
    for prefix in WRAPPED:
        if not any(k.startswith(prefix) for k in own):
            weights = {k.removeprefix(prefix): v for k, v in weights.items()}
        elif not any(k.startswith(prefix) for k in weights):
            weights = {f"{prefix}{k}": v for k, v in weights.items()}
    missing = [k for k in own if k not in weights and k.rpartition(".")[2] not in FIXED]
    wrong = [k for k, v in weights.items() if k in own and v.shape != own[k].shape]
    if missing or wrong:
        raise InputError(f"{what}: got weights of another model, wanted {len(own)}: "
                         f"missing {len(missing)} ({', '.join(missing[:3])}), of another shape {len(wrong)} "
                         f"({', '.join(wrong[:3])})")
    model.load_state_dict(weights, strict=False)
