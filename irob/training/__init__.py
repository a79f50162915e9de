"""Loops that train: `fit`, which they all share, methods of training a classifier, and models beside classifiers.

    trained = train("adv", "mnist_gen", key=jax.random.key(0), workdir="out/adv", epochs=5)
    trained.classifier, trained.recipe
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax

    from irob.core.types import Dataset
    from irob.training.method import Method
    from irob.training.named import Named
    from irob.training.run import Trained
    from irob.training.source import Source


def train(
    method: "str | Method", data: "str | Named | Dataset | Source", *, key: "jax.Array", **settings: Any
) -> "Trained":
    """Trains a classifier, measures it, and gives it back with its recipe.

    Args:
        method: a registered name (adv, trades, standard, lp_certify, smooth), package.module:build, or a `Method`.
        data: name of a data set that needs no files, `irob.training.named.Named` for one with options, a `Dataset`, or
            a `Source`, such as a mixture.
        key: typed key of weights, order, attacks and dropout.
        settings: `test`, the data set that it is measured on, unless data is a name; `workdir`, folder of checkpoints
            and log; `out`, folder for the weights, by default none are written; `resume`, go on from the last
            checkpoint; `about`, a dict for the recipe; and whatever irob.training.settings.of(method) has, such as
            epochs, epsilon and learning_rate.  None and "" mean the paper's for the data set; `init` may be a
            `Classifier` of any kind, which is trained on.

    Returns:
        classifier, recipe (settings and figures) and, of a method in stages, the `earlier` ones.

    Raises:
        InputError: an unknown method or setting, a value out of range, a workdir that holds another run.
        TrainingError: the loss is NaN or infinite.
    """
    from irob.training import run  # here, so that a command's --help need not wait for it

    return run.train(method, data, key=key, **settings)
