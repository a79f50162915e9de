"""The network of LP-Certify for 32x32 colour images: convex-adversarial training's "small" layout of CIFAR.

The layers of `lp_cnn` on a larger image: 32x32x3 -> 16x16x16 -> 8x8x32 -> dense 100 -> dense K.
"""

from irob.classifiers import lp_cnn
from irob.classifiers.net import Net
from irob.core.check import InputError


def build(num_classes: int, image_shape: tuple[int, ...]) -> Net:
    """The module for 32x32 colour images.

    >>> build(10, (32, 32, 3)) == lp_cnn.build(10, (32, 32, 3))
    True
    """
    if tuple(image_shape) != (32, 32, 3):
        raise InputError(f"lp_cnn_colour: got images of shape {tuple(image_shape)}, wanted (32, 32, 3); see lp_cnn")
    return lp_cnn.build(num_classes, image_shape)
