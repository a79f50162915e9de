"""Fetches a published file, in pieces that an interrupted download goes on from."""

import pathlib
import urllib.error
import urllib.request

from irob.core.check import InputError, writable_folder
from irob.core.progress import progress, say

PIECE = 1 << 20  # bytes
TIMEOUT_S = 30


def fetch(url: str, folder, *, sha256: str | None = None) -> pathlib.Path:
    """The file at `url` in `folder`, under its own name; what is there already is not fetched again.

    sha256: what it must be, where that is published.  Without it the checksum is only recorded.

    Raises:
        InputError: no network, a server that refuses, another checksum.
    """
    from irob.generators.importers import checksum

    target = writable_folder(folder) / url.rsplit("/", 1)[-1]
    if not target.is_file():
        part = target.with_name(target.name + ".part")
        try:
            _fetch(url, part)
        except (urllib.error.URLError, OSError, EOFError) as e:
            reason = getattr(e, "reason", e)
            kept = f"; {part.stat().st_size} bytes are kept and gone on from" if part.is_file() else ""
            raise InputError(f"download {url}: {reason}{kept}; fetch the file on a machine with a network and "
                             f"pass --source FILE") from None
        part.replace(target)
    got = checksum(target)
    if sha256 is not None and got != sha256:
        raise InputError(f"download {target.name}: got SHA-256 {got}, wanted {sha256}; remove it and fetch it again")
    say(f"{target}: SHA-256 {got}" + ("" if sha256 else " (none is published to compare with)"))
    return target


def _fetch(url: str, part: pathlib.Path) -> None:
    """Appends what is missing of the file to `part`."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as e:
        if have and e.code == 416:  # nothing is missing
            return
        raise
    with reply:
        if have and reply.status != 206:  # a server that starts from the beginning
            have = 0
        length = int(reply.headers.get("Content-Length") or 0)
        with open(part, "ab" if have else "wb") as out:
            pieces = progress(iter(lambda: reply.read(PIECE), b""), total=-(-length // PIECE) or None, label=part.stem)
            for piece in pieces:
                out.write(piece)
        if length and part.stat().st_size != have + length:
            raise EOFError(f"the connection ended after {part.stat().st_size} of {have + length} bytes")


