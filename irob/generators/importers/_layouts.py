"""Which published layout the names of a state dict belong to."""

import re

import numpy as np

from irob.core.check import InputError

State = dict[str, np.ndarray]


def looks_like(state: State) -> str | None:
    """The layout whose names these are, or None."""
    names = [re.sub(r"^(module/|module\.)", "", n) for n in state]
    deep, shallow = {10: 128, 12: 256, 14: 512}, {5: 128, 6: 256, 7: 512}
    blocks = {m[1] for n in names if (m := re.match(r"(gblock(?:_\d+)?)\.", n))}
    if blocks:
        return f"biggan{shallow[len(blocks)]}" if len(blocks) in shallow else None
    blocks = {m[1] for n in names if (m := re.match(r"generator\.layers\.(\d+)\.conv_0\.", n))}
    if blocks:
        return f"biggan_deep{deep[len(blocks)]}" if len(blocks) in deep else None
    if any(n.startswith("blocks.0.0.") for n in names):
        return "biggan_pytorch"
    if any(n.startswith("Generator/GBlock") for n in names):
        return "biggan_tfhub"
    if "fc.0.weight" in names and state["fc.0.weight"].ndim == 2:
        return {110: "acgan", 100: "gan"}.get(state["fc.0.weight"].shape[1])
    return None


def expect(state: State, layout: str, source: str) -> None:
    """Raises if the names are those of another layout."""
    found = looks_like(state)
    if found is not None and found != layout:
        raise InputError(f"{source}: got the names of layout {found}, wanted {layout}; "
                         f"use: python -m irob import {found}")
