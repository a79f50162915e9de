"""A progress bar on a terminal, a line a minute otherwise.  The environment variable IROB_PROGRESS=0 shows nothing.

What has no label, as calls from Python without one, is shown when it takes more than a few seconds.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
SWITCH = "IROB_PROGRESS"
EVERY_S = 60.0
SOON_S = 5.0  # what has no label and is done by then shows nothing


def shown() -> bool:
    """Whether progress is shown: unless $IROB_PROGRESS is 0, whenever it was set."""
    return os.environ.get(SWITCH, "1") != "0"


def progress(items: Iterable[T], *, total: int | None = None, label: str = "") -> Iterator[T]:
    """Yields the items; shows how far it is under `label` on stderr, without one after some seconds."""
    if not shown():
        yield from items
        return
    if sys.stderr.isatty():
        from tqdm import tqdm

        late = 0 if label else SOON_S
        yield from tqdm(items, total=total, desc=label or "irob", leave=False, dynamic_ncols=True, delay=late)
        return
    begin = time.monotonic()
    due = begin + (EVERY_S if label else SOON_S)
    for done, item in enumerate(items):
        now = time.monotonic()
        if now >= due:
            due = now + EVERY_S
            rest = f", about {(now - begin) / done * (total - done):.0f} s left" if total and done else ""
            say(f"{label or 'irob'}: {done}{f'/{total}' if total else ''}{rest}")
        yield item


def say(message: str) -> None:
    """One line for a person on stderr, so that stdout stays for results."""
    print(message, file=sys.stderr, flush=True)


def tell(message: str) -> None:
    """One line of progress, on a terminal and off it."""
    if shown():
        say(message)
