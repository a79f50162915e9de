"""A progress bar on a terminal, a line a minute otherwise, nothing where nobody asked for a label."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
EVERY_S = 60.0


def progress(items: Iterable[T], *, total: int | None = None, label: str = "") -> Iterator[T]:
    """Yields the items; shows how far it is under `label` on stderr (an empty label shows nothing)."""
    if not label:
        yield from items
        return
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=label, leave=False, dynamic_ncols=True)
        return
    begin = shown = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - shown >= EVERY_S:
            shown = now
            rest = f", about {(now - begin) / done * (total - done):.0f} s left" if total and done else ""
            print(f"{label}: {done}{f'/{total}' if total else ''}{rest}", file=sys.stderr, flush=True)
        yield item


def say(message: str) -> None:
    """One line for a person on stderr, so that stdout stays for results."""
    print(message, file=sys.stderr, flush=True)
