"""The small CNN of TRADES (Zhang et al., 2019), which the paper trains adversarially on 28x28 images.

conv 32 - conv 32 - pool - conv 64 - conv 64 - pool - dense 200 - dropout 0.5 - dense 200 - dense K; all
convolutions 3x3 without padding, ReLU after each but the last: 28 -> 26 -> 24 -> 12 -> 10 -> 8 -> 4.

Convolutions start as kaiming-normal, the last layer at zero.  So every logit is 0 before the first step: the loss is
log K, and its gradient with respect to the image is 0, hence the first attack of a training run stands still.
"""

from irob.classifiers.net import FLATTEN, MAX_POOL, RELU, Conv, Dense, Dropout, Net
from irob.core.check import InputError


def build(num_classes: int, image_shape: tuple[int, ...]) -> Net:
    """The module for images of at least 16x16 whose sides are divisible by 4.

    >>> build(10, (28, 28, 1)).describe()[:3]
    ('Conv', 'ReLU', 'Conv')
    """
    if min(image_shape[:2]) < 16 or any(side % 4 for side in image_shape[:2]):
        raise InputError(f"small_cnn: got images of shape {image_shape}, wanted sides divisible by 4, at least 16")
    plan = (
        *(Conv(32, 3), RELU, Conv(32, 3), RELU, MAX_POOL),
        *(Conv(64, 3), RELU, Conv(64, 3), RELU, MAX_POOL),
        *(FLATTEN, Dense(200), RELU, Dropout(0.5), Dense(200), RELU),
        Dense(num_classes, zero=True),
    )
    return Net(plan)
