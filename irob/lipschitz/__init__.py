"""How far a generator stretches its latent space near a code: local Lipschitz constants, each with its side.

    estimate = sampled(key, generator, z, y, radius=0.5, neighbours=2000)     # Algorithm 1, from below
    estimate = maximised(key, generator, z, y, radius=0.5)                    # power iteration on chords, from below
    estimate = certified(generator, z, y, radius=0.05)                        # chords of explicit layers, from above
    escape = escape_radius(key, generator, z, y, epsilon=1.0)                 # the shortest way out of the epsilon-ball
    constant, achieved = estimate.quantile(0.999, confidence=0.95)

Units: image units ([0, 1] pixels, l2) per latent unit; radius in latent standard deviations.
"""

from irob.lipschitz.certifying import certified, certified_radius
from irob.lipschitz.escape import EscapePlan, EscapeRadius, escape_radius
from irob.lipschitz.maximising import maximised
from irob.lipschitz.quantiles import quantile, supported_delta
from irob.lipschitz.radius import AutoRadius, RadiusPlan, auto_radius, smallest_radius
from irob.lipschitz.sampling import sampled

__all__ = [
    "AutoRadius",
    "EscapePlan",
    "EscapeRadius",
    "RadiusPlan",
    "auto_radius",
    "certified",
    "certified_radius",
    "escape_radius",
    "maximised",
    "quantile",
    "sampled",
    "smallest_radius",
    "supported_delta",
]
