"""The layers of a model, read from its program: whatever it was written in (Linen, NNX, Equinox, PyTorch, a function).

    layers = read(f, (28, 28, 1))        # f: f[H,W,C] -> f[K], traced once; explicit layers of irob.core.layers

The program (a jaxpr) must be one chain: every operation takes what the one before gave, and constants.  What depends
on constants alone is computed, so that batch normalisation is a gain and a bias.  Transposing and reshaping move no
numbers here: they change `order`, which says where each number of the model's array stands in irob's (images as
[h,w,c], last axis fastest), and the next kernel is permuted by it.

Nothing is guessed: an operation that is not understood exactly is refused, and the layers are compared with the model.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from irob.core import layers
from irob.core.check import InputError, one_line

PROBES = 16
MOST = 2**27  # numbers in a kernel that stands for a sum over pixels
MOVES = ("reshape", "transpose", "squeeze", "expand_dims", "rev", "copy", "copy_p", "broadcast_in_dim")
CALLS = ("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint")


def read(function: Callable[[jax.Array], jax.Array], shape: tuple[int, ...]) -> tuple[Any, ...]:
    """The explicit layers that compute what `function` computes of one image f[H,W,C].

    Raises:
        InputError: the model fails on such an image, is no chain of known operations, or differs from its layers.

    >>> w = jnp.ones((4, 2))
    >>> [type(layer).__name__ for layer in read(lambda x: jax.nn.relu(x.ravel() @ w - 3), (2, 2, 1))]
    ['Flatten', 'Dense', 'ReLU']
    """
    with layers.as_written():
        try:
            program = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(shape, jnp.float32))
        except InputError:
            raise
        except Exception as e:  # the model is the user's: any error may come out of it
            raise InputError(f"layers: the model fails on an image {shape}: {one_line(e)}") from e
    size = math.prod(shape)
    found = _Walk().run(program.jaxpr, program.consts, [_Image(tuple(shape), np.arange(size).reshape(shape))])
    end = found[0]
    if len(found) != 1 or not isinstance(end, _Image):
        raise InputError("layers: got a model of no or several outputs, wanted logits that depend on the image")
    if not np.array_equal(end.order.ravel(), np.arange(end.order.size)):
        raise InputError("layers: got a model that ends in a permutation, wanted a dense layer")
    made = end.layers if len(end.shape) == 1 else (*end.layers, layers.Flatten())
    _compare(function, made, shape)
    return made


def _compare(function, found, shape) -> None:
    """The layers against the model on random images, in and around the box."""
    x = np.random.default_rng(0).normal(0.5, 0.5, (PROBES, *shape)).astype(np.float32)
    with jax.default_matmul_precision("float32"):
        want = np.asarray(jax.jit(jax.vmap(function))(x), np.float64)
        got = np.asarray(jax.jit(jax.vmap(lambda x: layers.run(found, x)))(x), np.float64)
    error, size = np.abs(got - want).max(), np.abs(want).max()
    if got.shape != want.shape or not error <= 1e-4 * (1e-3 + size):
        raise InputError(f"layers: those that were read differ from the model by {error:.2g} of {size:.2g}")


@dataclasses.dataclass(frozen=True, eq=False)
class _Image:
    """What depends on the image, so far: the layers that give it, as irob's array of `shape`.

    order: i[...], in the shape of the model's array, the place of each number in irob's.
    """

    shape: tuple[int, ...]
    order: np.ndarray
    layers: tuple[Any, ...] = ()

    def then(self, shape, order, *more) -> "_Image":
        return _Image(tuple(shape), order, (*self.layers, *more))

    def placed(self, values) -> np.ndarray:
        """Numbers of the model's array, or such as broadcast to it, in irob's; one a channel where that is enough."""
        full = np.empty(self.shape, np.float32)
        full.reshape(-1)[self.order.ravel()] = np.broadcast_to(values, self.order.shape).ravel()
        return full[0, 0] if full.ndim == 3 and np.all(full == full[0, 0]) else full

    def image(self, axes: tuple[int, ...]) -> "_Image":
        """The same with irob's array as the image f[h,w,c] whose axes in the model's array are these."""
        rest = [i for i in range(self.order.ndim) if i not in axes]
        if any(self.order.shape[i] != 1 for i in rest):
            raise InputError("layers: got a convolution or pooling of more than one image")
        order = self.order.transpose(*rest, *axes)
        shape = order.shape[len(rest):]
        if not np.array_equal(order.ravel(), np.arange(order.size)):
            raise InputError("layers: got an image whose pixels were permuted")
        return self if shape == self.shape else self.then(shape, self.order, layers.Reshape(shape))


class _Walk:
    """Runs a program on constants and one image; an older state of the image cannot be used any more."""

    def __init__(self):
        self.latest: _Image | None = None

    def run(self, program, consts, inputs) -> list[Any]:
        """What the program gives: numbers, or the image."""
        known: dict[Any, Any] = dict(zip((*program.constvars, *program.invars), (*consts, *inputs)))
        for step in _used(program):
            given = [v.val if isinstance(v, Literal) else known[v] for v in step.invars]
            known.update(zip(step.outvars, self.step(step, given)))
        return [v.val if isinstance(v, Literal) else known[v] for v in program.outvars]

    def step(self, step, given) -> list[Any]:
        """One operation."""
        name, images = step.primitive.name, [a for a in given if isinstance(a, _Image)]
        if len(images) > 1 or (images and self.latest not in (None, images[0])):
            raise InputError(f"layers: got a model that branches at {name}, wanted a chain of layers")
        leaky = _leaky(step, given) if images else None
        inside = next((step.params[k] for k in ("jaxpr", "call_jaxpr") if k in step.params), None)
        if leaky is not None:
            self.latest = images[0].then(images[0].shape, images[0].order, leaky)
        elif name in CALLS and inside is not None:
            return self.run(getattr(inside, "jaxpr", inside), getattr(inside, "consts", ()), given)
        elif not images:
            out = step.primitive.bind(*given, **step.params)
            return out if step.primitive.multiple_results else [out]
        else:
            self.latest = _operation(name, step, images[0], given)
        return [self.latest]


def _used(program) -> list[Any]:
    """The operations that the outputs need; others, such as the places of maxima, are as good as not there."""
    wanted, found = {*map(id, program.outvars)}, []
    for step in reversed(program.eqns):
        if any(id(v) in wanted for v in step.outvars):
            wanted.update(map(id, step.invars))
            found.append(step)
    return found[::-1]


def _leaky(step, given) -> Any:
    """The leaky ReLU where `jax.nn.leaky_relu` stands, with its slope; the name alone does not count."""
    if step.params.get("name") != "leaky_relu" or len(given) > 2:
        return None
    slope = float(given[1]) if len(given) == 2 else 0.01
    shape = jax.ShapeDtypeStruct(step.invars[0].aval.shape, jnp.float32)
    arguments = (shape, slope) if len(given) == 2 else (shape,)
    (same,) = jax.make_jaxpr(jax.nn.leaky_relu)(*arguments).eqns
    return layers.LeakyReLU(slope) if str(same.params["jaxpr"]) == str(step.params["jaxpr"]) else None


def _operation(name: str, step, image: _Image, given) -> _Image:
    """The image after an operation that is a layer, a part of one, or moves numbers about."""
    first = isinstance(given[0], _Image)
    other = np.asarray(given[first]) if len(given) == 2 else np.zeros(())
    if name in MOVES and step.outvars[0].aval.size == image.order.size:
        return image.then(image.shape, np.asarray(step.primitive.bind(image.order, **step.params)))
    if name == "convert_element_type" and step.params["new_dtype"] == jnp.float32:
        return image
    if name in ("add", "sub", "mul", "div", "neg") and (first or name != "div"):
        if step.outvars[0].aval.shape != image.order.shape:
            raise InputError(f"layers: got {name} that repeats the image")
        by = other if name == "mul" else 1 / other if name == "div" else np.ones(())
        plus = other if name in ("add", "sub") else np.zeros(())
        if name == "neg" or (name == "sub" and not first):
            by = -by
        return _scaled(image, image.placed(by), image.placed(-plus if name == "sub" and first else plus))
    if name == "max" and not np.any(other):
        return image.then(image.shape, image.order, layers.ReLU())
    if name == "tanh":
        return image.then(image.shape, image.order, layers.Tanh())
    if name == "dot_general":
        return _dense(step.params["dimension_numbers"], image, other, first)
    if name == "conv_general_dilated" and first:
        return _convolution(step.params, image, other)
    if name in ("reduce_window_max", "reduce_window_sum"):
        return _pooling(step.params, image, name.endswith("max"))
    if name == "reduce_sum":
        return _summed(step.params["axes"], image)
    raise InputError(f"layers: got a model with the operation {name}; known are dense layers, convolutions, batch "
                     "normalisation, ReLU, leaky ReLU, tanh and 2x2 pooling")


def _scaled(image: _Image, gain, bias) -> _Image:
    """gain * x + bias, put into the layer before where that is affine, and left out where it changes nothing."""
    *before, last = image.layers or (None,)
    if isinstance(last, layers.Dense) or (isinstance(last, layers.Conv) and gain.ndim == bias.ndim == 1):
        made = (dataclasses.replace(last, kernel=last.kernel * gain, bias=last.bias * gain + bias),)
        return _Image(image.shape, image.order, (*before, *made))
    if isinstance(last, layers.Scale):
        gain, bias = last.gain * gain, last.bias * gain + bias
    else:
        before = [*image.layers]
    none = np.all(gain == 1) and not np.any(bias)
    scale = () if none else (layers.Scale(jnp.asarray(gain), jnp.asarray(bias)),)
    return _Image(image.shape, image.order, (*before, *scale))


def _flat(image: _Image, kernel: np.ndarray, order: np.ndarray) -> _Image:
    """A dense layer f[i,o] on irob's array in the order of memory."""
    flat = (layers.Flatten(),) if len(image.shape) > 1 else ()
    dense = layers.Dense(jnp.asarray(kernel, jnp.float32), jnp.zeros(kernel.shape[1]))
    return image.then((kernel.shape[1],), order, *flat, dense)


def _dense(numbers, image: _Image, matrix, first: bool) -> _Image:
    """A product with a matrix over all of the image."""
    (left, right), batched = numbers
    mine, its = (left, right) if first else (right, left)
    own = [i for i in range(image.order.ndim) if i not in mine]
    free = [i for i in range(matrix.ndim) if i not in its]
    if any(batched) or any(image.order.shape[i] != 1 for i in own):
        raise InputError("layers: got a product with a part of the image, wanted one with all of it")
    sizes = [image.order.shape[i] for i in own], [matrix.shape[i] for i in free]
    kernel = np.empty((image.order.size, math.prod(sizes[1])), np.float32)
    kernel[image.order.transpose(*mine, *own).ravel()] = matrix.transpose(*its, *free).reshape(kernel.shape)
    shape = [*sizes[0], *sizes[1]] if first else [*sizes[1], *sizes[0]]
    return _flat(image, kernel, np.arange(kernel.shape[1]).reshape(shape))


def _summed(axes, image: _Image) -> _Image:
    """Sums over axes, such as global average pooling, as a product with ones and zeros."""
    count = np.ones(image.order.shape).sum(tuple(axes))
    if count.size * image.order.size > MOST:
        raise InputError("layers: got a sum over an image that is too large to be written as a matrix")
    order = np.arange(count.size).reshape(count.shape)
    kernel = np.zeros((image.order.size, count.size), np.float32)
    kernel[image.order.ravel(), np.broadcast_to(np.expand_dims(order, tuple(axes)), image.order.shape).ravel()] = 1
    return _flat(image, kernel, order)


def _convolution(params, image: _Image, kernel) -> _Image:
    numbers, strides = params["dimension_numbers"], params["window_strides"]
    holes = {*params["lhs_dilation"], *params["rhs_dilation"]} != {1}
    if len(strides) != 2 or holes or params["feature_group_count"] * params["batch_group_count"] != 1:
        raise InputError("layers: got a convolution with groups or holes, or not over rows and columns")
    (_, channel, *places), (out, into, *taps) = numbers.lhs_spec, numbers.rhs_spec
    image = image.image((*places, channel))
    kernel = kernel.transpose(*taps, into, out)
    sides = tuple(map(tuple, params["padding"]))
    same = jax.lax.padtype_to_pads(image.shape[:2], kernel.shape[:2], strides, "SAME")
    plain = len({*sides[0], *sides[1]}) == 1
    if len({*strides}) != 1 or not (plain or sides == tuple(map(tuple, same))):
        raise InputError(f"layers: got a convolution of strides {strides} and padding {sides}, wanted equal ones")
    padding: layers.Padding = int(sides[0][0]) if plain else "SAME"
    made = layers.Conv(jnp.asarray(kernel), jnp.zeros(kernel.shape[3]), int(strides[0]), padding)
    return _imaged(image, made, numbers.out_spec)


def _imaged(image: _Image, layer, spec) -> _Image:
    """After a layer that gives an image, whose axes (n, c, h, w) in the model's array are `spec`."""
    shape = jax.eval_shape(layer, jax.ShapeDtypeStruct(image.shape, jnp.float32)).shape
    n, c, h, w = spec
    order = np.arange(math.prod(shape)).reshape(1, *shape).transpose(np.argsort((n, h, w, c)))
    return image.then(shape, order, layer)


def _pooling(params, image: _Image, largest: bool) -> _Image:
    """The largest or the sum of 2x2 blocks."""
    window, plain = params["window_dimensions"], {*params["base_dilation"], *params["window_dilation"]} == {1}
    if len(window) == 3:  # one image without its leading axis
        image = image.then(image.shape, image.order[None])
        window, strides = (1, *window), (1, *params["window_strides"])
        padding = ((0, 0), *params["padding"])
    else:
        strides, padding = params["window_strides"], params["padding"]
    places = [i for i, k in enumerate(window) if k != 1]
    if not (plain and sorted(window) == [1, 1, 2, 2] and tuple(strides) == tuple(window) and not np.any(padding)):
        raise InputError(f"layers: got pooling of windows {window} by steps of {strides}, wanted 2x2 blocks")
    n, c = [i for i in range(4) if i not in places]
    if image.order.shape[n] != 1:
        n, c = c, n
    image = image.image((*places, c))
    made = _imaged(image, layers.MaxPool() if largest else layers.AvgPool(), (n, c, *places))
    made = made if len(params["window_dimensions"]) == 4 else made.then(made.shape, made.order[0])
    return made if largest else _scaled(made, np.full(1, 4.0), np.zeros(1))
