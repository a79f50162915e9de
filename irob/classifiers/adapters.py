"""Any model as a `Classifier`: Linen, NNX, Equinox, a plain function, a PyTorch module, an ensemble.

    f = wrap(model, image_shape=(28, 28, 1))                       # recognises what it is given
    f = from_torch(net, image_shape=(32, 32, 3), mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))

irob hands over one image x: f[H,W,C] in [0,1] and wants logits f[K].  A model that wants something else says so:
  layout: "HWC", "CHW" for one image, "NHWC", "NCHW" for a batch (it then sees a batch of one, vmapped by irob);
  mean, std: its own normalisation, (x - mean) / std for each channel, so that epsilon keeps the units of [0,1].
Logits are wanted, not probabilities.  Models are taken in inference mode (no dropout, stored batch statistics).
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from irob.classifiers.fitted import fitted
from irob.classifiers.pytorch import from_torch
from irob.core import models
from irob.core.check import InputError, unknown
from irob.core.types import Classifier

AVERAGES = ("logits", "probabilities")


@dataclasses.dataclass(frozen=True)
class _Mean:
    """The average of members; the members, which are pytrees, stand in the place of variables."""

    average: str

    def __call__(self, members, x):
        logits = jnp.stack([member(x) for member in members])
        if self.average == "logits":
            return jnp.mean(logits, axis=0)
        return jax.nn.logsumexp(jax.nn.log_softmax(logits, axis=-1), axis=0) - jnp.log(len(members))


def from_linen(module, variables, *, image_shape=None, num_classes=None, layout="NHWC", mean=None, std=None,
               name="", **arguments) -> Classifier:
    """A Flax Linen module with its variables; further keywords go to the call (`train=False`).

    >>> import flax.linen as nn
    >>> net = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(3)])
    >>> f = from_linen(net, net.init(jax.random.key(0), jnp.zeros((1, 2, 2, 1))), image_shape=(2, 2, 1))
    >>> f.num_classes
    3
    """
    call, variables = models.linen(module, variables, "classifier", **arguments)
    return fitted(call, variables, num_classes=num_classes, image_shape=image_shape, layout=layout, mean=mean,
                  std=std, name=name)


def from_nnx(model, *, image_shape=None, num_classes=None, layout="NHWC", mean=None, std=None, name="") -> Classifier:
    """A Flax NNX module: a copy of it in inference mode, so that later training leaves the classifier as it is.

    >>> from flax import nnx
    >>> net = nnx.Sequential(lambda x: x.reshape(len(x), -1), nnx.Linear(4, 3, rngs=nnx.Rngs(0)))
    >>> from_nnx(net, image_shape=(2, 2, 1)).num_classes
    3
    """
    call, state = models.nnx(model)
    return fitted(call, state, num_classes=num_classes, image_shape=image_shape, layout=layout, mean=mean,
                  std=std, name=name)


def from_equinox(model, *, state=None, image_shape=None, num_classes=None, layout="CHW", mean=None, std=None,
                 name="") -> Classifier:
    """An Equinox module in inference mode; Equinox takes one image, channels first.

    state: of a model with batch normalisation, which is called as model(x, state) and gives (logits, state).
    """
    call, variables = models.equinox(model, state)
    return fitted(call, variables, num_classes=num_classes, image_shape=image_shape, layout=layout, mean=mean,
                  std=std, name=name)


def from_callable(function, *, variables=None, image_shape=None, num_classes=None, layout="HWC", mean=None, std=None,
                  name="") -> Classifier:
    """A function of JAX: function(x) -> logits, or, with `variables`, function(variables, x) -> logits.

    Arrays that function(x) closes over are constants of the compiled program; `variables` are arguments of it.

    >>> from_callable(lambda x: x.mean((1, 2)) @ jnp.eye(3), layout="NHWC", image_shape=(2, 2, 3)).num_classes
    3
    """
    call, variables = models.plain(function, variables)
    return fitted(call, variables, num_classes=num_classes, image_shape=image_shape,
                  layout=layout, mean=mean, std=std, name=name)


def ensemble(members: Sequence, *, average: str = "logits", name: str = "", **options) -> Classifier:
    """Several classifiers as one: f = mean_m f_m, or f = log mean_m softmax(f_m) with average="probabilities".

    The second is the mixture whose probabilities are averaged, computed by logsumexp without a small log.

    Args:
        members: classifiers, or models that `wrap` recognises.  options: for `wrap` of those.

    Raises:
        InputError: no member; members that differ in classes or images; an unknown average.

    >>> one, two = (from_callable(lambda x, w=w: w * x.ravel(), image_shape=(1, 1, 2)) for w in (1.0, 3.0))
    >>> ensemble([one, two])(jnp.ones((1, 1, 2))).tolist()
    [2.0, 2.0]
    """
    if average not in AVERAGES:
        raise unknown("average", average, AVERAGES)
    found = tuple(wrap(m, **options) for m in members)
    if not found:
        raise InputError("ensemble: got no classifier, wanted at least one")
    kinds = {(m.num_classes, m.image_shape) for m in found}
    shapes = {shape for _, shape in kinds if shape is not None}
    if len({count for count, _ in kinds}) > 1 or len(shapes) > 1:
        raise InputError(f"ensemble: got members of classes and images {sorted(map(str, kinds))}, wanted equal ones")
    return Classifier(found, _Mean(average), found[0].num_classes, next(iter(shapes), None), None, name or "ensemble")


def wrap(model, *, variables=None, **options) -> Classifier:
    """Whatever the user has as a `Classifier`.

    Recognised: a Classifier (returned as it is), a list of models (`ensemble`), a Linen module with `variables`, the
    pair (module, variables) or a bound module, an NNX or Equinox module, a PyTorch module, a function.  A path or a
    shipped name is for `classifiers.load`.

    Args:
        model: the model.  variables: of a Linen module or a function apply(variables, x).
        options: image_shape, num_classes, layout, mean, std, name and what the `from_...` of this kind takes.
            batched=True is short for a layout that begins with N.

    Raises:
        InputError: a kind that is not recognised, an option that this kind does not take, and what `fitted` raises.

    >>> wrap(lambda x: x.ravel(), image_shape=(2, 2, 1))(jnp.ones((2, 2, 1))).shape
    (4,)
    """
    if isinstance(model, Classifier):
        return model
    if isinstance(model, tuple) and len(model) == 2 and models.is_a(model[0], "flax.linen"):
        model, variables = model
    make, arguments = _recognised(model, variables)
    options = {k: v for k, v in options.items() if v is not None}
    known = inspect.signature(make).parameters
    batched = options.pop("batched", None)
    if batched is not None and "layout" in known:
        layout = options.get("layout", known["layout"].default)
        options["layout"] = ("N" if batched else "") + layout.removeprefix("N")
    for option in options:
        if option not in known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
            raise unknown(f"option of {make.__name__}", option, known)
    return make(*arguments, **options)


def _recognised(model, variables) -> tuple[Callable, tuple]:
    """The function that takes this model, and what to hand it."""
    if isinstance(model, list):
        return ensemble, (model,)
    if models.is_a(model, "flax.linen"):
        return from_linen, (model, variables)
    for package, kind, make in (("flax.nnx", "Module", from_nnx), ("torch.nn", "Module", from_torch),
                                ("torch.export", "ExportedProgram", from_torch),
                                ("equinox", "Module", from_equinox)):
        if models.is_a(model, package, kind):
            return make, (model,)
    if callable(model) and not isinstance(model, type):
        return _function(variables), (model,)
    raise InputError(f"classifier: got {type(model).__name__}, wanted a Classifier, a Linen, NNX, Equinox or PyTorch "
                     "module, a function of an image, or a list of these")


def _function(variables) -> Callable:
    def make(function, *, image_shape=None, num_classes=None, layout="HWC", mean=None, std=None, name=""):
        return from_callable(function, variables=variables, image_shape=image_shape, num_classes=num_classes,
                             layout=layout, mean=mean, std=std, name=name)

    make.__name__ = "from_callable"
    return make
