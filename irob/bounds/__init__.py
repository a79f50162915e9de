"""Bounds on what any classifier can do on a generated distribution; light to import, float64 throughout.

    from irob import bounds
    bounds.intrinsic_robustness_upper(alpha=0.015, epsilon=1.0, lipschitz=11.0, delta=0.001)      # 0.9822
    bounds.with_confidence(constants, (15, 1000), 1.0, radius=0.5).value                          # from samples of both

Robustness has two definitions.  Error-region: x is kept if f(x') equals the ground truth at x' for every x' within
epsilon.  Label: x is kept if f(x') equals the label of x for every such x', which is what attacks measure.  Theorems
4.3 and 4.4 hold for both; transport and Shafahi's bounds speak of labels; regions that a classifier errs on
(concentration, label uncertainty) speak of error regions only; Fawzi's bounds of predictions, right or wrong.

The functions return plain floats or arrays; `evidence` returns a `Bound`, which says what it stands on.
Units: epsilon in image units ([0, 1] pixels), lipschitz in image units per latent unit, both of the same norm (l2).
"""

from irob.bounds.concentration import Concentration, RegionSearch, concentration
from irob.bounds.confidence import OrderChoice, Supported, with_confidence
from irob.bounds.fawzi_2018 import fawzi, fawzi_expected_distance
from irob.bounds.gilmer_2018 import gilmer_mean_distance
from irob.bounds.intrinsic import (
    adversarial_risk_lower,
    gaussian_expansion,
    intrinsic_robustness_upper,
    intrinsic_robustness_upper_from_radius,
)
from irob.bounds.label_limit import LabelLimit, label_limit
from irob.bounds.label_uncertainty import constrained_concentration, label_uncertainty
from irob.bounds.latent import GAUSSIAN, gaussian_latent
from irob.bounds.proviso import Terms, evidence, holds
from irob.bounds.shafahi_2019 import shafahi_cube, shafahi_sphere
from irob.bounds.transport import Transport, transport, transport_gaussian

__all__ = [
    "GAUSSIAN",
    "Concentration",
    "LabelLimit",
    "OrderChoice",
    "RegionSearch",
    "Supported",
    "Terms",
    "Transport",
    "adversarial_risk_lower",
    "concentration",
    "constrained_concentration",
    "evidence",
    "fawzi",
    "fawzi_expected_distance",
    "gaussian_expansion",
    "gaussian_latent",
    "gilmer_mean_distance",
    "holds",
    "intrinsic_robustness_upper",
    "intrinsic_robustness_upper_from_radius",
    "label_limit",
    "label_uncertainty",
    "shafahi_cube",
    "shafahi_sphere",
    "transport",
    "transport_gaussian",
    "with_confidence",
]
