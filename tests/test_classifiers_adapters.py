"""One network in every way (Linen, NNX, Equinox, a function, PyTorch traced and by callback): the same logits and
gradients."""

import importlib.util

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import attacks, classifiers
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.threat import LpBall

SHAPE, K = (4, 4, 3), 5
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
RNG = np.random.default_rng(0)
W = RNG.normal(size=(48, 7)).astype(np.float32) / 7
B = RNG.normal(size=7).astype(np.float32) / 4
V = RNG.normal(size=(7, K)).astype(np.float32)
X = RNG.uniform(size=(6, *SHAPE)).astype(np.float32)


def oracle(x):
    """By hand, in float64: the network on one image f[H,W,C], flattened in channels-first order."""
    x = np.moveaxis((np.asarray(x, np.float64) - MEAN) / STD, -1, 0).ravel()
    return np.tanh(x @ W + B) @ V


def by_hand(x):
    return jnp.tanh(x.ravel() @ W + B) @ V


def linen():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train: bool = True):
            x = jnp.tanh(nn.Dense(7)(x.reshape(len(x), -1)))
            return nn.Dense(K, use_bias=False)(nn.Dropout(0.5, deterministic=not train)(x))

    return Net(), {"params": {"Dense_0": {"kernel": W, "bias": B}, "Dense_1": {"kernel": V}}}


def nnx():
    from flax import nnx as x

    net = x.Sequential(lambda a: a.reshape(len(a), -1), x.Linear(48, 7, rngs=x.Rngs(0)), jnp.tanh,
                       x.Dropout(0.5, rngs=x.Rngs(1)), x.Linear(7, K, use_bias=False, rngs=x.Rngs(2)))
    net.layers[1].kernel[...], net.layers[1].bias[...], net.layers[4].kernel[...] = W, B, V
    return net


def equinox():
    eqx = pytest.importorskip("equinox")
    one, two = (eqx.nn.Linear(a, b, use_bias=c, key=jax.random.key(0)) for a, b, c in ((48, 7, True), (7, K, False)))
    one = eqx.tree_at(lambda m: (m.weight, m.bias), one, (jnp.asarray(W.T), jnp.asarray(B)))
    two = eqx.tree_at(lambda m: m.weight, two, jnp.asarray(V.T))
    return eqx.nn.Sequential([eqx.nn.Lambda(jnp.ravel), one, eqx.nn.Lambda(jnp.tanh), eqx.nn.Dropout(0.5), two])


def pytorch():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 7), torch.nn.Tanh(), torch.nn.Dropout(0.5),
                              torch.nn.Linear(7, K, bias=False))
    with torch.no_grad():
        net[1].weight[:], net[1].bias[:], net[4].weight[:] = map(torch.from_numpy, (W.T.copy(), B, V.T.copy()))
    return net.train()


def with_torchax():
    """PyTorch, where it can be traced; torchax is not imported here, since that needs what irob mends."""
    if importlib.util.find_spec("torchax") is None:
        pytest.skip("torchax is not installed")
    return pytest.importorskip("torch")


def traced(module, **options):
    with_torchax()
    return classifiers.wrap(module, image_shape=SHAPE, trace=True, **options)


MODELS = {
    "linen": lambda: classifiers.wrap(linen(), image_shape=SHAPE, layout="NCHW", mean=MEAN, std=STD, train=False),
    "linen bound": lambda: classifiers.wrap(linen()[0].bind(linen()[1]), image_shape=SHAPE, layout="NCHW", mean=MEAN,
                                            std=STD, train=False),
    "nnx": lambda: classifiers.wrap(nnx(), image_shape=SHAPE, layout="NCHW", mean=MEAN, std=STD),
    "equinox": lambda: classifiers.wrap(equinox(), image_shape=SHAPE, mean=MEAN, std=STD),
    "torch": lambda: classifiers.wrap(pytorch(), image_shape=SHAPE, mean=MEAN, std=STD, trace=False),
    "torchax": lambda: traced(pytorch(), mean=MEAN, std=STD),
    "function": lambda: classifiers.wrap(by_hand, image_shape=SHAPE, layout="CHW", mean=MEAN, std=STD),
    "batched": lambda: classifiers.wrap(jax.vmap(by_hand), image_shape=SHAPE, layout="CHW", batched=True, mean=MEAN,
                                        std=STD),
    "variables": lambda: classifiers.wrap(lambda v, x: jnp.tanh(x.ravel() @ v[0] + v[1]) @ v[2], variables=(W, B, V),
                                          image_shape=SHAPE, layout="CHW", mean=MEAN, std=STD),
}


@pytest.mark.parametrize("kind", MODELS)
def test_logits_and_gradients_are_those_of_the_network(kind):
    f = MODELS[kind]()
    assert (f.num_classes, f.image_shape) == (K, SHAPE)
    got = jax.jit(lambda f, x: jax.vmap(f)(x))(f, X)
    np.testing.assert_allclose(got, [oracle(x) for x in X], rtol=2e-4, atol=2e-4)
    gradient = jax.jit(lambda f, x: jax.grad(lambda x: f(x)[2])(x))(f, X[0])
    h, step = 1e-6, np.zeros(SHAPE)
    step[1, 2, 0] = h
    np.testing.assert_allclose(gradient[1, 2, 0], (oracle(X[0] + step) - oracle(X[0] - step))[2] / (2 * h), rtol=2e-3)


@pytest.mark.parametrize("kind", ["linen", "nnx", "equinox"])
def test_a_rebuilt_model_does_not_retrace(kind):
    module = linen()
    make = {"linen": lambda: classifiers.from_linen(*module, image_shape=SHAPE, train=False),
            "nnx": lambda: classifiers.from_nnx(NNX, image_shape=SHAPE),
            "equinox": lambda: classifiers.from_equinox(EQX, image_shape=SHAPE)}[kind]
    NNX, EQX = (nnx() if kind == "nnx" else None), (equinox() if kind == "equinox" else None)
    traces = []
    f = jax.jit(lambda f, x: (traces.append(kind), f(x))[1])
    np.testing.assert_array_equal(f(make(), X[0]), f(make(), X[0]))
    assert traces == [kind]


def test_the_user_may_go_on_training():
    net = nnx()
    f = classifiers.from_nnx(net, image_shape=SHAPE)
    before = f(X[0])
    net.layers[1].kernel[...] = 0 * W
    assert not net.layers[3].deterministic  # the user's model is in training mode as before
    np.testing.assert_array_equal(f(X[0]), before)


def test_attack_on_pytorch_is_the_attack_on_its_twin(key):
    """PGD with restarts in chunks, under jit, scan and vmap: whole batches reach PyTorch."""
    f, g = MODELS["torch"](), MODELS["function"]()
    y = np.argmax([oracle(x) for x in X], axis=1).astype(np.int32)
    ball = LpBall("l2", 0.15)
    alone = attacks.build("pgd", ball, steps=5)  # of two restarts that both end on the sphere rounding prefers one
    one, two = (attacks.run(alone, key, c, X, y, work=Work(4)) for c in (f, g))
    np.testing.assert_allclose(one.x_adv, two.x_adv, atol=1e-4)
    attack = attacks.build("pgd", ball, steps=5, restarts=2)
    one, two = (attacks.run(attack, key, c, X, y, work=Work(4)) for c in (f, g))
    np.testing.assert_array_equal(one.success, two.success)
    np.testing.assert_allclose(one.distance, two.distance, atol=1e-4)
    sizes = []
    f.module.call.module.register_forward_hook(lambda m, i, o: sizes.append(len(i[0])))
    attacks.run(attack, key, f, X, y, work=Work(4))
    assert min(sizes) == 4 and max(sizes) == 4 * 3  # the referee judges 2 restarts and the clean image of each


@pytest.mark.parametrize("trace", [False, True])
def test_torch_gradient_against_autograd(key, trace):
    """A convolutional network with every leading axis that irob uses: none, examples, restarts x examples."""
    torch = with_torchax() if trace else pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
                              torch.nn.Linear(16, K))
    f = classifiers.from_torch(net, K, SHAPE, trace=trace)
    x = RNG.uniform(size=(2, 3, *SHAPE)).astype(np.float32)
    c = RNG.normal(size=(2, 3, K)).astype(np.float32)
    got = jax.jit(jax.vmap(jax.vmap(lambda x, c: jax.vjp(f, x)[1](c)[0])))(x, c)
    t = torch.from_numpy(np.moveaxis(x, -1, -3).reshape(6, 3, 4, 4).copy()).requires_grad_()
    (net.eval()(t) * torch.from_numpy(c.reshape(6, K))).sum().backward()
    want = np.moveaxis(t.grad.numpy(), 1, -1).reshape(x.shape)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    jacobian = jax.jacrev(f)(x[0, 0])
    np.testing.assert_allclose(np.einsum("k,khwc->hwc", c[0, 0], jacobian), want[0, 0], rtol=1e-4, atol=1e-5)
    assert trace or all(p.grad is None for p in f.module.call.module.parameters())


def test_torch_modules_that_cannot_be_traced_go_by_callback(capsys):
    """Those that decide by values, draw random numbers, mix images or bring a gradient of their own; a line says so."""
    torch = with_torchax()

    class Straight(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.round()

        @staticmethod
        def backward(ctx, g):
            return g

    class Net(torch.nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def forward(self, x):
            return self.function(x).flatten(1)[:, :K]

    functions = {"cannot trace": lambda x: x if x.sum() > 0 else -x, "random": lambda x: x + torch.rand_like(x),
                 "an output": lambda x: x * x.mean(), "a gradient": Straight.apply}
    for said, function in functions.items():
        f = classifiers.from_torch(Net(function), image_shape=SHAPE)
        err = capsys.readouterr().err
        assert "by callback" in err and said in err and err.count("\n") == 1
        with pytest.raises(InputError, match=said):
            classifiers.from_torch(Net(function), image_shape=SHAPE, trace=True)
    np.testing.assert_array_equal(jax.grad(lambda x: f(x).sum())(X[0]).ravel().sum(), K)  # the straight-through one


def test_torch_weights_are_known_by_their_digest():
    f, g = MODELS["torch"](), MODELS["torch"]()
    np.testing.assert_array_equal(f.variables, g.variables)
    net = pytorch()
    net[1].bias.data[0] += 1e-3
    assert np.any(f.variables != classifiers.from_torch(net, K, SHAPE, trace=False).variables)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_ensemble(average):
    f, g = MODELS["function"](), classifiers.wrap(lambda x: x.ravel()[:K], image_shape=SHAPE)
    got = jit(lambda e, x: e(x))(classifiers.ensemble([f, g], average=average), X[0])
    one, two = oracle(X[0]), np.asarray(X[0].ravel()[:K], np.float64)
    if average == "probabilities":
        one, two = (np.exp(a) / np.exp(a).sum() for a in (one, two))
    want = (one + two) / 2
    np.testing.assert_allclose(got, want if average == "logits" else np.log(want), rtol=1e-4)
    assert classifiers.wrap([f, g]).num_classes == K


def test_bad_models_are_one_line():
    wrap = classifiers.wrap
    with pytest.raises(InputError, match="fails on an image .*TypeError"):
        wrap(lambda x: x @ "a", image_shape=SHAPE)
    with pytest.raises(InputError, match=r"\(4, 4\).*layout='NHWC'"):
        wrap(lambda x: x.sum(-1), image_shape=SHAPE)
    with pytest.raises(InputError, match=r"got logits of shape \(48,\).*wanted \(10,\)"):
        wrap(lambda x: x.ravel(), image_shape=SHAPE, num_classes=10)
    with pytest.raises(InputError, match="neither image_shape nor num_classes"):
        wrap(lambda x: x.ravel())
    with pytest.raises(InputError, match="got int"):
        wrap(3)
    with pytest.raises(InputError, match="without weights"):
        wrap(linen()[0], image_shape=SHAPE)
    with pytest.raises(InputError, match="did you mean 'HWC'"):
        wrap(lambda x: x, image_shape=SHAPE, layout="HCW")
    with pytest.raises(InputError, match="std"):
        wrap(lambda x: x.ravel(), image_shape=SHAPE, std=(1, 0, 1))
    with pytest.raises(InputError, match="each of 3 channels"):
        wrap(lambda x: x.ravel(), image_shape=SHAPE, mean=(1, 0))
    with pytest.raises(InputError, match="did you mean 'layout'"):
        wrap(lambda x: x.ravel(), image_shape=SHAPE, layuot="HWC")
    with pytest.raises(InputError, match="PyTorch module fails"):
        wrap(pytorch(), image_shape=(5, 5, 3))
    with pytest.raises(InputError, match="image_shape"):
        wrap(pytorch())
    with pytest.raises(InputError, match="wanted equal"):
        classifiers.ensemble([wrap(lambda x: x.ravel(), image_shape=(1, 1, k)) for k in (2, 3)])
