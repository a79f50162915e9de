"""The small network of convex-adversarial training (Wong and Kolter, 2018), which LP-Certify trains on 28x28 images.

conv 16 - conv 32 - dense 100 - dense K; convolutions 4x4, stride 2, padding 1; ReLU after each but the last.
"""

from irob.classifiers.net import FLATTEN, RELU, Conv, Dense, Net


def build(num_classes: int, image_shape: tuple[int, ...]) -> Net:
    """The module for images of any size.

    >>> build(10, (28, 28, 1)).describe()
    ('Conv', 'ReLU', 'Conv', 'ReLU', 'Flatten', 'Dense', 'ReLU', 'Dense')
    """
    plan = (
        *(Conv(16, 4, stride=2, padding=1), RELU, Conv(32, 4, stride=2, padding=1), RELU),
        *(FLATTEN, Dense(100), RELU, Dense(num_classes)),
    )
    return Net(plan, conv_init="he_out")
