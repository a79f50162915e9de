"""The "large" network of convex-adversarial training, which the paper trains adversarially on 32x32 colour images.

conv 32 (3x3) - conv 32 (4x4, stride 2) - conv 64 (3x3) - conv 64 (4x4, stride 2) - dense 512 - dense 512 - dense K,
padding 1, ReLU after each but the last: 32 -> 32 -> 16 -> 16 -> 8.
"""

from irob.classifiers.net import FLATTEN, RELU, Conv, Dense, Net


def build(num_classes: int, image_shape: tuple[int, ...]) -> Net:
    """The module for images of any size.

    >>> build(10, (32, 32, 3)).describe().count("Conv")
    4
    """
    plan = (
        *(Conv(32, 3, padding=1), RELU, Conv(32, 4, stride=2, padding=1), RELU),
        *(Conv(64, 3, padding=1), RELU, Conv(64, 4, stride=2, padding=1), RELU),
        *(FLATTEN, Dense(512), RELU, Dense(512), RELU, Dense(num_classes)),
    )
    return Net(plan, conv_init="he_out")
