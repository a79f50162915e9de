"""Weights come back as they were, and damage is named."""

import json

import numpy as np
import pytest

from irob.core import weights
from irob.core.check import InputError

TREE = {"params": {"dense": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}}, "count": np.int32(3)}


def test_round_trip(tmp_path):
    weights.save(tmp_path / "w", TREE, {"name": "toy"})
    tree, config = weights.load(tmp_path / "w")
    assert config["name"] == "toy"
    np.testing.assert_array_equal(tree["params"]["dense"]["kernel"], TREE["params"]["dense"]["kernel"])
    assert tree["count"].dtype == np.int32


def test_half_is_rounded_once(tmp_path):
    x = {"a": np.linspace(0, 1, 7, dtype=np.float32)}
    weights.save(tmp_path, x, {}, half=True)
    tree, _ = weights.load(tmp_path)
    np.testing.assert_array_equal(tree["a"], x["a"].astype(np.float16).astype(np.float32))
    assert tree["a"].dtype == np.float32


@pytest.mark.parametrize("damage", ["truncate", "flip", "json", "missing"])
def test_damage_is_named(tmp_path, damage):
    weights.save(tmp_path, TREE, {})
    file = tmp_path / weights.WEIGHTS
    data = file.read_bytes()
    if damage == "truncate":
        file.write_bytes(data[:-4])
    elif damage == "flip":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "missing":
        file.unlink()
    else:
        (tmp_path / weights.CONFIG).write_text("{")
    with pytest.raises(InputError, match="weights.safetensors|config.json") as e:
        weights.load(tmp_path)
    assert "\n" not in str(e.value)


def test_valid_checksum_of_garbage(tmp_path):
    import hashlib

    weights.save(tmp_path, TREE, {})
    (tmp_path / weights.WEIGHTS).write_bytes(b"garbage")
    (tmp_path / weights.CONFIG).write_text(json.dumps({"sha256": hashlib.sha256(b"garbage").hexdigest()}))
    with pytest.raises(InputError, match="not a safetensors file"):
        weights.load(tmp_path)


def test_match_lists_both_sides():
    with pytest.raises(InputError, match=r"missing: \['b'\]; surplus: \['c'\]"):
        weights.match({"a": 1, "c": 2}, {"a": 1, "b": 2}, source="file")
    with pytest.raises(InputError, match=r"shape \(2,\), wanted \(3,\)"):
        weights.match({"a": np.zeros(2)}, {"a": np.zeros(3)}, source="file")


def test_unknown_name_suggests():
    with pytest.raises(InputError, match="unknown weights|no such folder"):
        weights.resolve("acgan_mnits")
