"""Imports a generator from another project's weights: `python -m irob import acgan --source FILE.pt --out DIR`."""

import dataclasses
import functools
import sys

from irob.core.check import InputError, unknown, writable_folder
from irob.core.config import option, run

PROG = "python -m irob import"


@dataclasses.dataclass(frozen=True)
class Source:
    """Converts a state dict (.pt, .pth, .npz, .safetensors) into a folder that every --generator takes."""

    source: str = option("", "file with the weights")
    out: str = option("out/weights/imported", "folder for the converted weights")


def main(argv: list[str]) -> None:
    """Finds the layout and converts."""
    from irob.generators import importers

    layouts = importers.names()
    if not argv or argv[0] in ("-h", "--help"):
        print(f"usage: {PROG} LAYOUT --source FILE --out DIR    with LAYOUT one of: {', '.join(layouts)}")
        sys.exit(0 if argv else 2)
    if argv[0] not in layouts:
        print(f"{PROG}: {unknown('layout', argv[0], layouts)}", file=sys.stderr)
        sys.exit(2)
    run(functools.partial(work, argv[0]), Source, prog=f"{PROG} {argv[0]}", argv=argv[1:])


def work(layout: str, config: Source) -> None:
    """Reads, checks, converts, writes."""
    from irob import generators
    from irob.core.provenance import provenance
    from irob.generators import importers

    if not config.source:
        raise InputError("source: got none, wanted the file with the weights; pass --source FILE")
    generator = importers.load(layout, config.source)
    writable_folder(config.out)
    generators.save(config.out, generator, imported={"layout": layout, "sha256": importers.checksum(config.source)},
                    provenance=provenance(seed=None))
    print(f"wrote {config.out}: {layout}, latent dimension {generator.latent_dim}, {generator.num_classes} classes")
