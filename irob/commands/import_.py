"""Imports a generator from another project's weights: `python -m irob import acgan --source FILE.pt --out DIR`."""

import dataclasses
import functools
import pathlib
import sys

from irob.core.check import InputError, number, unknown, writable_folder
from irob.core.config import option, run

PROG = "python -m irob import"
IMAGENET10 = "imagenet10"


@dataclasses.dataclass(frozen=True)
class Source:
    """Converts a state dict (.pt, .pth, .bin, .npz, .safetensors) into a folder that every --generator takes."""

    source: str = option("", "file with the weights")
    config: str = option("", "file with the model's own configuration; default: config.json beside --source")
    download: bool = option(False, "fetch the published file, if --source is not given")
    cache: str = option("out/downloads", "folder for fetched files")
    out: str = option("out/weights/imported", "folder for the converted weights")
    classes: list[str] = option([], "class numbers to offer, or imagenet10: the paper's ten; default: all (BigGAN)")
    size: int = option(0, "down-sample to so many pixels on a side; 0 leaves the images as they are (BigGAN)")
    resize: str = option("area", "how: area, nearest (as the published code) or bilinear (BigGAN)")
    truncation: float = option(1.0, "whose batch-norm statistics are used, in (0, 1]; codes stay N(0, I) (BigGAN)")
    dtype: str = option("float32", "of the convolutions: float32 or bfloat16 (BigGAN)")
    remat: bool = option(False, "gradients in less memory and more time (BigGAN)")


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
    from irob.core.progress import say
    from irob.core.provenance import provenance
    from irob.generators import importers

    asked = changes(config)
    source, own = config.source, config.config
    if not source and config.download:
        source, own = fetched(layout, config)
    if not source:
        raise InputError("source: got none, wanted the file with the weights; pass --source FILE")
    notes: list[str] = []
    generator = importers.load(layout, source, config=own or None, notes=notes)
    if generator.name == "biggan":
        from irob.generators import biggan

        generator = biggan.remake(generator, **asked)
    elif asked != changes(Source()):
        raise InputError(f"layout {layout!r}: takes no --classes, --size, --resize, --truncation, --dtype or --remat")
    for note in notes:
        say(note)
    writable_folder(config.out)
    imported = {"layout": layout, "file": pathlib.Path(source).name, "sha256": importers.checksum(source),
                "notes": notes}
    generators.save(config.out, generator, imported=imported, provenance=provenance(seed=None))
    size = "x".join(map(str, generator.image_shape[:2]))
    print(f"wrote {config.out}: {layout}, latent dimension {generator.latent_dim}, {generator.num_classes} classes, "
          f"{size} pixels")


def changes(config: Source) -> dict:
    """The options of `biggan.build` that are asked for, checked before any file is read."""
    from irob.generators import biggan

    if config.resize not in biggan.Resize.METHODS:
        raise unknown("resize", config.resize, biggan.Resize.METHODS)
    if config.dtype not in biggan.DTYPES:
        raise unknown("dtype", config.dtype, biggan.DTYPES)
    classes: list[int] = []
    for word in config.classes:
        if word != IMAGENET10 and not word.isdecimal():
            raise InputError(f"class: got {word!r}, wanted whole numbers >= 0, or {IMAGENET10}")
        classes += biggan.IMAGENET10 if word == IMAGENET10 else [int(word)]
    number("truncation", config.truncation, low=0.0, high=1.0, open_low=True)
    number("size", config.size, low=0)
    size = config.size or (32 if IMAGENET10 in config.classes else 0)
    return {"classes": classes, "size": size, "resize": config.resize, "truncation": config.truncation,
            "dtype": config.dtype, "remat": config.remat}


def fetched(layout: str, config: Source) -> tuple[str, str]:
    """The published file of a layout, and its configuration."""
    from irob.core import registry
    from irob.generators import importers
    from irob.generators.importers import download

    room = registry.module(importers.PACKAGE, layout, kind="layout", function="convert")
    urls = vars(room).get("DOWNLOAD", {})
    if not urls:
        raise InputError(f"download: layout {layout!r} has no published address; pass --source FILE")
    found = {name: str(download.fetch(url, config.cache)) for name, url in urls.items()}
    return found["weights"], config.config or found.get("config", "")
