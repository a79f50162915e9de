"""Where a number comes from: seed, versions, device, precision, command, time, weights."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import sys
from typing import Any

PACKAGES = ("irob", "jax", "jaxlib", "flax", "optax", "numpy", "scipy")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def command() -> str:
    """The command line as a person would type it: `python -m module ...`; of absolute paths only the last part."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    name = f"-m {spec.name.removesuffix('.__main__')}" if spec else pathlib.Path(sys.argv[0] or "-c").name
    arguments = [pathlib.Path(a).name if os.path.isabs(a) else a for a in sys.argv[1:]]
    return f"python {name} {shlex.join(arguments)}".strip()


def provenance(*, seed: int | None, **extra: Any) -> dict[str, Any]:
    """The record that stands in every result file; `extra` adds weights' checksums, settings and the like."""
    import jax

    device = jax.devices()[0]
    return {
        "seed": seed,
        "command": command(),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": {p: v for p in PACKAGES if (v := _version(p))} | {"python": platform.python_version()},
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count(),
                   "cores": os.cpu_count(), "machine": platform.machine()},
        "matmul_precision": getattr(jax.config, "jax_default_matmul_precision", None) or "default",
        **extra,
    }
