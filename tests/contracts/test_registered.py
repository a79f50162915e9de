"""Laws for everything that is registered: a new file is under them from the day that it appears."""

import dataclasses
import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irob import __main__ as doors
from irob import attacks, certify, classifiers, data, generators
from irob.commands.train import names as trainings
from irob.core import layers
from irob.core.batch import Work
from irob.core.check import InputError
from irob.core.compile import jit
from irob.core.promises import Attack, Ensemble, LayerCertifier, ModelCertifier
from irob.core.threat import LatentBall, LpBall
from irob.training import settings as training_settings
from irob.training.method import Network
from irob.training.run import plan
from irob.training.source import Batch

LINEAR = classifiers.from_function(lambda w, x: x.ravel() @ w, jax.random.normal(jax.random.key(7), (16, 4)), 4)
MY_ATTACK = "tests.outside.one_step:build"
MY_CERTIFIER = f"{pathlib.Path(__file__).parents[1] / 'outside' / 'product_of_norms.py'}:build"
TRAINING = (*training_settings.names(), "tests.outside.smoothed_labels:build")


def colour(name: str) -> tuple[int, ...]:
    """The images that an architecture is for."""
    return (32, 32, 3) if name in ("big_cnn", "lp_cnn_colour") else (28, 28, 1)


@pytest.mark.parametrize("name", generators.names())
def test_a_generator_draws_images(name, key):
    g = generators.build(name, key=key)
    z = jax.random.normal(key, (5, g.latent_dim))
    y = jnp.arange(5) % g.num_classes
    images = np.asarray(jit(lambda g, z, y: jax.vmap(g)(z, y))(g, z, y))
    assert images.shape == (5, *g.image_shape)
    assert images.dtype == np.float32
    assert np.isfinite(images).all()
    alone = jit(lambda g, z, y: g(z, y))(g, z[3], y[3])
    np.testing.assert_allclose(alone, images[3], atol=1e-5)
    gradient = jax.grad(lambda v: g(v, y[0]).sum())(z[0])
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("name", classifiers.names())
def test_a_classifier_gives_logits(name, key, tmp_path):
    shape = colour(name)
    f = classifiers.build(name, 10, shape, key=key)
    x = jax.random.uniform(key, (3, *shape))
    logits = np.asarray(jax.vmap(f)(x))
    assert logits.shape == (3, 10)
    np.testing.assert_array_equal(logits, jax.vmap(f)(x))  # nothing random at inference
    np.testing.assert_allclose(f(x[1]), logits[1], atol=1e-4)
    classifiers.save(tmp_path, f)
    np.testing.assert_allclose(jax.vmap(classifiers.load(tmp_path))(x), logits, atol=1e-5)


def built(name: str, threat: LpBall, g=None):
    """The attack, short."""
    options = {"steps": 10, "queries": 50, "generator": g}
    return attacks.build(name, threat, **{k: v for k, v in options.items() if k in attacks.takes(name)})


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("name", [*attacks.names(), MY_ATTACK])
def test_an_attack_is_feasible_and_judged(name, norm, key):
    g = generators.build("affine", key=key, num_classes=4)
    z = jax.random.normal(key, (12, g.latent_dim))
    guess = jnp.argmax(jax.vmap(LINEAR)(jax.vmap(g)(z, jnp.zeros(12, int))), axis=1)
    y = np.asarray(jnp.where(jnp.arange(12) == 0, (guess + 1) % 4, guess))  # the first is naturally wrong
    x = np.asarray(jax.vmap(g)(z, y))
    y = np.where(np.arange(12) == 0, (np.argmax(jax.vmap(LINEAR)(x), 1) + 1) % 4, np.argmax(jax.vmap(LINEAR)(x), 1))
    x = np.clip(np.asarray(jax.vmap(g)(z, y)), 0, 1)
    threat = LpBall(norm, 0.6)
    if name == MY_ATTACK and norm == "l1":  # it says that it is for the others
        with pytest.raises(InputError, match="got norm l1, wanted l2 or linf"):
            built(name, threat)
        return
    attack = built(name, threat, g)
    assert isinstance(attack, Attack | Ensemble)
    result = attacks.run(attack, key, LINEAR, x, y.astype(np.int32), z)
    assert jax.vmap(threat.contains)(x, result.x_adv).all()
    predicted = np.argmax(jax.vmap(LINEAR)(result.x_adv), axis=1)
    np.testing.assert_array_equal(result.success, predicted != y)
    wrong = np.argmax(jax.vmap(LINEAR)(x), axis=1) != y
    assert result.success[wrong].all()
    np.testing.assert_allclose(result.distance, jax.vmap(threat.distance)(x, result.x_adv), atol=1e-5)
    nothing = attacks.run(attack.at(0.0), key, LINEAR, x, y.astype(np.int32), z)
    np.testing.assert_array_equal(nothing.success, wrong)  # a ball of radius 0 holds the image alone


@pytest.mark.parametrize("name", attacks.names())
def test_an_attack_that_needs_codes_says_so(name, key):
    g = generators.build("affine", key=key, num_classes=4)
    attack = built(name, LpBall("l2", 0.6), g)
    x = np.full((2, *g.image_shape), 0.5, np.float32)
    if attack.needs_codes:
        with pytest.raises(InputError, match="codes z"):
            attacks.run(attack, key, LINEAR, x, np.zeros(2, np.int32))
    else:
        attack.require(x, None)


def test_a_black_box_differentiates_nothing(key):
    """A classifier that calls the host has no gradient."""
    def called(_, x):
        return jax.pure_callback(lambda v: np.stack([v.sum((-3, -2, -1)), -v.sum((-3, -2, -1))], -1).astype(v.dtype),
                                 jax.ShapeDtypeStruct((2,), x.dtype), x, vmap_method="expand_dims")

    f = classifiers.from_function(called, (), 2)
    for name in attacks.names():
        attack = built(name, LpBall("linf", 0.1), generators.build("affine", key=key))
        if not attack.needs_gradient:
            found = attacks.run(attack, key, f, np.full((2, 4, 4, 1), 0.5, np.float32), np.ones(2, np.int32))
            assert found.success.all()
    assert not attacks.build("square").needs_gradient


def test_what_is_no_attack_or_certifier_is_refused():
    with pytest.raises(InputError, match="got LpBall, wanted an Attack or Ensemble"):
        attacks.build("tests.outside.one_step:no_attack")
    with pytest.raises(InputError, match="did you mean 'no_attack'"):
        attacks.build("tests.outside.one_step:no_atack")
    with pytest.raises(InputError, match="there is no file"):
        certify.build("tests/outside/absent.py:build")
    with pytest.raises(InputError, match="wanted a LayerCertifier"):
        certify.build("builtins:object")


@pytest.mark.parametrize("name", [*certify.names(), MY_CERTIFIER])
def test_a_certifier_keeps_its_promises(name, key):
    """Threats and norms outside those declared are refused, and so is an opaque function where layers are needed."""
    certifier = certify.build(name)
    assert isinstance(certifier, LayerCertifier | ModelCertifier) and certifier.chunk >= 1
    assert certifier.needs_key == ("key" in certify.takes(name))
    assert certify.method(certifier) == ("ProductOfNorms" if name == MY_CERTIFIER else name)
    x, y = np.full((1, 4, 4, 1), 0.5, np.float32), np.zeros(1, np.int32)
    if certifier.needs_layers:
        with pytest.raises(InputError, match="wanted layers"):
            certify.run(certifier, LINEAR, x, y, LpBall(certifier.norms[0], 0.1))
    f = classifiers.from_layers((layers.Flatten(), layers.Dense(jnp.eye(16)[:, :4], jnp.zeros(4))), 4, (4, 4, 1))
    codes = LatentBall(generators.build("affine", key=key), 0.1)
    with pytest.raises(InputError, match="got the threat latent linf 0.1, wanted LpBall"):
        certify.run(certifier, f, x, y, codes)
    for norm in {"l1", "l2", "linf"} - set(certifier.norms):
        with pytest.raises(InputError, match=f"norm {norm}, wanted"):
            certify.run(certifier, f, x, y, LpBall(norm, 0.1))


WALKERS = [n for n in (*certify.names(), MY_CERTIFIER) if isinstance(certify.build(n), LayerCertifier)]


@pytest.mark.parametrize("name", WALKERS)
def test_a_certifier_of_layers_is_below_what_an_attack_leaves(name, key):
    parts = jax.random.split(key, 3)
    net = (layers.Flatten(), layers.Dense(jax.random.normal(parts[0], (4, 8)), jnp.zeros(8)), layers.ReLU(),
           layers.Dense(jax.random.normal(parts[1], (8, 3)), jnp.zeros(3)))
    f = classifiers.from_layers(net, 3, (2, 2, 1))
    x = np.asarray(jax.random.uniform(parts[2], (7, 2, 2, 1)))
    logits = np.asarray(jax.vmap(f)(x))
    guess = np.argmax(logits, axis=1)
    y = np.where(np.arange(7) == 0, (guess + 1) % 3, guess).astype(np.int32)  # the first is naturally wrong
    clean = np.array([row[k] - np.delete(row, k).max() for row, k in zip(logits, y, strict=True)])
    certifier, last = certify.build(name), clean
    for epsilon in (0.02, 0.1, 0.4):
        found = certify.run(certifier, f, x, y, LpBall("l2", epsilon))
        assert (found.margin <= last + 1e-5).all()  # below the clean margin, and falling with epsilon
        assert not found.certified[0]
        attack = attacks.build("pgd", LpBall("l2", epsilon), steps=10)
        assert not (found.certified & attacks.run(attack, key, f, x, y).success).any()
        last = found.margin
    chunks = certify.run(certifier, f, x, y, LpBall("l2", 0.02), work=Work(3))
    whole = certify.run(certifier, f, x, y, LpBall("l2", 0.02), work=Work(7))
    np.testing.assert_allclose(chunks.margin, whole.margin, atol=1e-5)
    assert whole.certified.any()


@pytest.mark.parametrize("name", TRAINING)
def test_a_training_method_stays_in_the_ball_and_learns(name, key):
    wanted = {"norm": "l2", "epsilon": 0.5, "steps": 3, "step_size": 0.3, "sigma": 0.1}
    known = {f.name for f in dataclasses.fields(training_settings.of(name))}
    chosen = plan(name, **{k: v for k, v in wanted.items() if k in known})
    method, threat = chosen.method, chosen.threat
    x = jax.random.uniform(key, (64, 2, 2, 1))
    batch = Batch(x, (x[:, 0, 0, 0] > 0.5).astype(jnp.int32), jnp.arange(64), x.reshape(64, 4))

    def linear(w):
        return classifiers.from_layers((layers.Flatten(), layers.Dense(w, jnp.zeros(2))), 2, (2, 2, 1))

    @jit
    def step(w, key):
        seen = method.perturb(key, linear(w), batch)
        loss, gradient = jax.value_and_grad(lambda w: method.loss(Network(linear(w)), batch, seen))(w)
        return loss, seen, gradient, method.ramp(0.0).perturb(key, linear(w), batch)

    w, tx = 0.1 * jax.random.normal(key, (4, 2)), optax.sgd(0.5)
    first, seen, _, unmoved = step(w, key)
    images = not jax.dtypes.issubdtype(seen.dtype, jax.dtypes.prng_key)  # else what a bound wants
    if images and name != "smooth":  # Gaussian noise knows no ball
        assert jax.vmap(threat.contains)(x, seen).all()
        np.testing.assert_allclose(unmoved, x, atol=1e-6)  # a warm-up begins without a threat
    for i in range(20):
        loss, _, gradient, _ = step(w, jax.random.fold_in(key, i))
        w = optax.apply_updates(w, tx.update(gradient, tx.init(w))[0])
    assert loss < first
    assert method.staged or method.next_stage(linear(w), None) is None


@pytest.mark.parametrize("name", ["apgd_ce", "apgd_dlr", "fab", "pgd", "square"])
def test_an_attack_is_an_inner_search(name, key):
    """Any single attack without a generator: its images are in the ball and lose more than the clean ones."""
    x = np.asarray(jax.random.uniform(key, (8, 4, 4, 1)))
    batch = Batch(jnp.asarray(x), jnp.argmax(jax.vmap(LINEAR)(x), axis=1), jnp.arange(8))
    method = plan("adv", norm="linf", epsilon=0.2, steps=20, attack=name).method
    seen = jit(lambda key: method.perturb(key, LINEAR, batch))(key)
    assert jax.vmap(LpBall("linf", 0.2).contains)(x, seen).all()
    assert method.loss(Network(LINEAR), batch, seen) > method.loss(Network(LINEAR), batch, batch.x)
    if name == "apgd_ce":
        unmoved = jit(lambda key: method.ramp(0.0).perturb(key, LINEAR, batch))(key)
        np.testing.assert_allclose(unmoved, x, atol=1e-6)


@pytest.mark.parametrize("name", data.names())
def test_a_data_set_says_what_is_wrong(name):
    with pytest.raises(InputError, match="split"):
        data.load(name, "validation")
    with pytest.raises(InputError, match="takes no"):
        data.load(name, "test", nonsense=1)
    with pytest.raises(InputError):
        data.load(name, "test", data_dir="no/such/folder")


VERBS_OF_THEIR_OWN = ("train", "import_")  # these pass on to doors below them


DOORS = [*(f"irob.commands.{m}" for m in doors.verbs().values() if m not in VERBS_OF_THEIR_OWN),
         *(f"train.{m}" for m in trainings())]


@pytest.mark.parametrize("door", DOORS)
def test_a_door_explains_itself(door):
    config = importlib.import_module(door).Config
    assert config.__doc__
    assert not config.__doc__.startswith(f"{config.__name__}(")  # the docstring that dataclass makes up
    assert dataclasses.is_dataclass(config)
    config()  # every option has a default
    for field in dataclasses.fields(config):
        assert field.metadata["custom_args"]["help"], field.name
