"""A PyTorch module as a `Classifier`: a function of JAX by torchax, or its logits and gradient by callback to the host.

    f = from_torch(net, image_shape=(32, 32, 3))        # net takes f32[n,C,H,W]
    attacks.run(attacks.build("pgd"), key, f, x, y)     # jit, scan and vmap as for every other classifier

The first way (`irob.core.pytorch`) is compiled with the attack and runs where JAX runs.  It is taken wherever torchax
can trace the module and PyTorch agrees on logits and gradients; a line says where it is not.

The callback takes any module.  Forward  x -> f(x)  and backward  (x, c) -> (df/dx)^T c  are two calls, joined by
`jax.custom_vjp`.  Under vmap every leading axis is handed over at once and becomes PyTorch's batch, so that an attack
of 128 images with 5 restarts is one call with 640 images.  Each backward runs the forward again: a callback keeps no
state.  The arrays cross between XLA and PyTorch in host memory, and it lacks forward-mode derivatives (jvp, jacfwd)
and second derivatives, which no attack on images takes; `jax.jacrev` works.
"""

import copy
import dataclasses
import functools
import hashlib
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from irob.classifiers.fitted import fitted
from irob.core import pytorch
from irob.core.check import InputError, integer, one_line
from irob.core.progress import say
from irob.core.types import Classifier


@dataclasses.dataclass(frozen=True, eq=False)
class _Torch:
    """The module (a copy, on its device, in inference mode) and what its callbacks must know.

    Compared by identity.  The lock keeps callbacks from several devices one at a time.
    """

    module: Any
    batched: bool
    num_classes: int = 0
    lock: Any = dataclasses.field(default_factory=threading.Lock)

    def __call__(self, _, x: jax.Array) -> jax.Array:
        """x: f[...], one image in the module's layout -> logits f[K]."""
        return _logits(self, x)

    def batch(self, x):
        """Leading axes flattened into one, as a tensor where the module lives.  x: f[..., three axes]."""
        import torch

        first = next(self.module.parameters(), torch.zeros(()))
        flat = np.array(x, np.float32).reshape(-1, *np.shape(x)[-3:])  # a copy: PyTorch wants memory that it may write
        return torch.from_numpy(flat).to(first.device, pytorch.dtype_of(self.module))

    def run(self, images):
        """images: [n, ...] -> logits [n, K]."""
        import torch

        if self.batched:
            return self.module(images)
        return torch.stack([self.module(image) for image in images])

    def forward(self, x) -> np.ndarray:
        """x: f[..., three axes] -> logits f[..., K]."""
        import torch

        with self.lock, torch.no_grad():
            out = self.run(self.batch(x)).float().cpu().numpy()
        return out.reshape(*np.shape(x)[:-3], self.num_classes)

    def backward(self, x, cotangent) -> np.ndarray:
        """(df/dx)^T c of each image.  Examples do not mix, so the gradient of the sum is each image's own."""
        import torch

        with self.lock, torch.enable_grad():
            images = self.batch(x).requires_grad_()
            logits = self.run(images)
            c = torch.from_numpy(np.array(cotangent, np.float32).reshape(-1, self.num_classes)).to(logits)
            found = None
            if logits.requires_grad:  # a module of constants has no gradient at all
                (found,) = torch.autograd.grad(logits, images, c, allow_unused=True)
            gradient = torch.zeros_like(images) if found is None else found
            return gradient.float().cpu().numpy().reshape(np.shape(x))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _logits(model: _Torch, x: jax.Array) -> jax.Array:
    out = jax.ShapeDtypeStruct((model.num_classes,), jnp.float32)
    return jax.pure_callback(model.forward, out, x, vmap_method="broadcast_all")


def _keep(model, x):
    return _logits(model, x), x


def _pull(model, x, cotangent):
    out = jax.ShapeDtypeStruct(x.shape, jnp.float32)
    return (jax.pure_callback(model.backward, out, x, cotangent, vmap_method="broadcast_all"),)


_logits.defvjp(_keep, _pull)


def from_torch(module, num_classes: int | None = None, image_shape=None, *, layout: str = "NCHW", mean=None, std=None,
               name: str = "", trace: bool | None = None) -> Classifier:
    """A PyTorch module as a classifier; a copy in inference mode is kept.

    Args:
        module: torch.nn.Module, f32 in its own layout -> logits; or what `torch.export.export` made of one, for any
            number of images (a dynamic first dimension).
        num_classes: counted if not given.
        image_shape: (height, width, channels), needed, whatever the layout.
        layout: "NCHW" (as in PyTorch), "NHWC", or "CHW", "HWC" for a module that takes one image.
        mean, std: normalisation for each channel, in units of [0,1], done before the module.
        trace: True for torchax alone, False for the callback, which runs on the device where the module is; default:
            torchax, and the callback with a line on stderr where that fails.

    Raises:
        InputError: no image_shape; a module that fails on two images or gives no logits; one that torchax cannot
            trace, for trace=True.

    By callback, the digest of the weights stands where other classifiers have their weights, so that finished pieces
    of work are found again for the same weights only.
    """
    import torch

    if image_shape is None:
        raise InputError("from_torch: got no image_shape, wanted (height, width, channels)")
    shape = tuple(integer("image_shape", side, low=1) for side in image_shape)
    try:
        if isinstance(module, torch.export.ExportedProgram):
            module = module.run_decompositions().module()  # in inference mode or not, as it was exported
        else:
            module = copy.deepcopy(module).eval()
        model = _Torch(module, layout.startswith("N"))
        order = (*shape[-1:], *shape[:-1]) if layout.endswith("CHW") else shape
        probes = np.random.default_rng(0).uniform(size=(2, *order)).astype(np.float32)
        with torch.no_grad():
            out = model.run(model.batch(probes))
    except Exception as e:  # the module is the user's: any error may come out of it
        raise InputError(f"classifier: the PyTorch module fails on images {shape} as {layout}: {one_line(e)}") from e
    if not isinstance(out, torch.Tensor) or out.ndim != 2 or len(out) != 2:
        got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise InputError(f"classifier: got {got} for two images, wanted logits (2, num_classes)")
    model = dataclasses.replace(model, num_classes=int(out.shape[1]))
    inner = layout.removeprefix("N")  # irob's own vmap is the batch
    variables, call = _way(model, probes, trace, name or type(module).__name__)
    return fitted(call, variables, num_classes=num_classes, image_shape=shape, layout=inner, mean=mean,
                  std=std, name=name or type(module).__name__)


def _way(model: _Torch, images: np.ndarray, trace: bool | None, name: str) -> tuple[Any, Any]:
    """(variables, call): torchax's, or the digest of the weights and the callback."""
    if trace is not False:
        try:
            return pytorch.as_function(model.module, images, batched=model.batched)
        except InputError as e:
            if trace:
                raise InputError(f"classifier: the PyTorch module cannot be traced: {e}") from None
            say(f"classifier {name}: PyTorch runs by callback on the host: {e}")
    return _digest(model.module), model


def _digest(module) -> np.ndarray:
    """SHA-256 of names, shapes and bytes of the weights, u32[8]."""
    h = hashlib.sha256(repr(module).encode())
    for key, tensor in sorted(module.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        h.update(f"{key}{array.dtype}{tuple(array.shape)}".encode())
        h.update(np.asarray(array.double() if array.is_floating_point() else array).tobytes())  # bfloat16 included
    return np.frombuffer(h.digest(), np.uint32)
