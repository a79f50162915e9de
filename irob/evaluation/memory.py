"""Peak memory of this process, for provenance and --memory."""

import sys


def peak_mib() -> float | None:
    """The largest resident size so far in MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2 ** (20 if sys.platform == "darwin" else 10)  # bytes there, KiB elsewhere
