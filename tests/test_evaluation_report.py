"""The report loop on toys in seconds: constants that are known, laws that hold, a page that comes out."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irob import classifiers, generators
from irob.bounds import intrinsic_robustness_upper_from_radius
from irob.commands import attack as attack_door
from irob.commands import report as report_door
from irob.core import laws, store, weights
from irob.core.check import InputError
from irob.core.evidence import Report
from irob.core.rows import Natural, Number, Quantity, models, select
from irob.core.types import Classifier, Dataset
from irob.evaluation import section
from irob.evaluation.limits import constants as common
from irob.evaluation.limits import sampled
from irob.evaluation.verbs import report
from irob.math.confidence import clopper_pearson
from irob.report import files, sections
from irob.report.sections import classifiers as classified
from irob.report.sections import constants, label, samples
from irob.report.sections import limits as limited

SHAPE = (4, 4, 1)
STRETCH = 0.08
EPSILONS = (0.02, 0.05)
PGD, INSIDE = (lambda n: classified.Attack("pgd", n, {"steps": 3})), (
    lambda n: classified.Attack("in_distribution", n, {"steps": 5}))
TINY = {
    "label": label.Sizes(images=200, kept=50, epsilons=EPSILONS),
    "classifiers": classified.Sizes(
        60, 1, (PGD(20), INSIDE(10)), checkpoints=1, checkpoint_natural=30, checkpoint_attacks=(PGD(10), INSIDE(10)),
        chunk=10, epsilons=EPSILONS),
    "limits": limited.Sizes(common.ConstantsPlan(sampled=6, ascent=12, certified=6, compared=3, pilot=3, neighbours=8,
                                       radii=(0.1,), epsilons=EPSILONS), 300, 60),
    "samples": samples.Sizes(60, 2),
    "constants": constants.Sizes(codes=3, neighbours=8, trials=2, epsilons=EPSILONS),
}


def small(monkeypatch):
    """Preset quick has these sizes."""
    for s in sections.named(sections.names()):
        monkeypatch.setattr(type(s), "presets", {"quick": TINY[s.name]})


def linear(variables, x):
    return variables @ (x.ravel() - 0.5)


@pytest.fixture(scope="module")
def toys():
    g = generators.build("affine", key=jax.random.key(1), latent_dim=4, num_classes=3, image_shape=SHAPE,
                         singular_values=STRETCH)
    h = generators.build("affine", key=jax.random.key(2), latent_dim=4, num_classes=1, image_shape=SHAPE,
                         singular_values=2 * STRETCH)
    z, y = np.asarray(jax.random.normal(jax.random.key(3), (400, 4))), np.arange(400, dtype=np.int32) % 3
    x = np.asarray(jax.vmap(g)(z, y))
    right = np.asarray(jnp.argmax(jax.vmap(lambda x: linear(_matrix(0), x))(x), axis=-1)) == y
    # 54 images that the classifier gets right and 6 that it does not, in turn.
    chosen = np.concatenate([np.flatnonzero(right)[:54], np.flatnonzero(~right)[:6]]).reshape(10, 6).T.ravel()
    return g, h, Dataset(x[chosen], y[chosen], z[chosen], 3, SHAPE, "toy")


def _matrix(seed):
    return jax.random.normal(jax.random.key(seed), (3, 16))


def measure(toys, folder=None, key=0):
    """The sections "classifiers" and "constants" of a report on values, without names."""
    g, h, data = toys
    kept, given = store.Pieces(folder), {"toy_adv": Classifier(_matrix(0), linear, 3, SHAPE, name="a")}
    along = {"toy_adv@1": Classifier(_matrix(5), linear, 3, SHAPE, name="b")}
    chosen = sections.named(["classifiers", "constants"])
    plan = section.ReportPlan(chosen, generator="acgan", dataset="toy", unconditional="gan", seed=key)
    context = section.Context(plan, g, data, kept, section.Clock())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classified.Classifiers, "_models", lambda self, context: (given, []))
        patch.setattr(classified, "_along", lambda names, count: (along, []))
        patch.setattr(classified.weights, "checksum", lambda folder: "")
        patch.setattr(classified.classifiers, "resolve", lambda name: name)
        patch.setattr(constants, "present", lambda names, kind: (list(names), []))
        patch.setattr(constants.generators, "load", lambda name: h)
        patch.setattr(constants.weights, "resolve", lambda name: name)
        rows, found = (), {}
        for s in chosen:
            found[s.name] = s.measure(dataclasses.replace(context, rows=rows), TINY[s.name])
            rows += found[s.name].rows
    blocks = [b for s in chosen for b in s.blocks(rows, found[s.name].pictures)]
    return list(rows), blocks, [n for f in found.values() for n in f.notes], kept


@pytest.fixture(scope="module")
def measured(toys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pieces")
    return (*measure(toys, folder), folder)


def test_constants_of_isometries_are_exact(measured):
    rows = measured[0]
    for model, stretch, classes in (("acgan", STRETCH, [0, 1, 2]), ("gan", 2 * STRETCH, [None])):
        for protocol, unit in (("default", 1.0), ("paper", 2.0)):
            found = select(rows, Quantity.LIPSCHITZ, model=model, protocol=protocol)
            assert [r.detail.class_index for r in found] == classes
            assert all(r.value == pytest.approx(unit * stretch, rel=1e-4) and r.side == "lower" for r in found)
            assert all(r.detail.trials == 2 and r.detail.confidence < 0.01 for r in found)


def test_bounds_come_from_the_constants_and_do_not_certify(measured):
    rows = measured[0]
    alpha, source = sampled.measured_alpha(rows)
    assert "toy_adv on 60 images" in source
    found = select(rows, Quantity.BOUND, protocol="default", measured=True, family="overall")
    assert [r.epsilon for r in found] == list(EPSILONS)
    for r in found:
        grown = [min(0.5, r.epsilon / STRETCH)] * 3  # r L = 0.04 fails at 0.05
        assert r.value == pytest.approx(intrinsic_robustness_upper_from_radius(alpha, grown, delta=0.001), rel=1e-3)
        assert r.detail.proviso is (r.epsilon < 0.04)
    assert not any(r.certified for r in select(rows, Quantity.BOUND))
    assert {r.detail.alpha for r in select(rows, Quantity.BOUND)} == {alpha, sampled.PAPER_ALPHA}


def test_curves_pass_through_their_bound(measured):
    for r in select(measured[0], Quantity.BOUND, protocol="default", measured=True):
        curve = r.detail.curve
        assert np.interp(r.detail.alpha, curve["alpha"], curve["value"]) == pytest.approx(r.value, abs=2e-3)


def test_an_error_free_classifier_gets_an_upper_limit():
    row = Natural().row("d", "m", None, Number(1.0, 0.9638, 1.0, 100), "clean")
    alpha, source = sampled.measured_alpha([row])
    assert alpha == pytest.approx(0.0362, abs=1e-4) and "95 % upper limit" in source
    at = dataclasses.replace(row, model="m@3", value=0.5, low=0.4, high=0.6)
    assert sampled.measured_alpha([row, at]) == sampled.measured_alpha([row]), "checkpoints do not count"
    assert sampled.measured_alpha([]) is None
    two = sampled.measured_alpha([row, dataclasses.replace(row, model="n")])
    assert two[0] == pytest.approx(clopper_pearson(0, 100, 0.975)[1]) and "most accurate of 2" in two[1]
    robust = dataclasses.replace(row, model="m_adv", value=0.9, low=0.8, high=0.95)
    assert sampled.measured_alpha([row, robust])[0] == pytest.approx(0.1), "robust ones go first, as in the paper"


def test_accuracy_above_the_limit_is_a_discovery(measured):
    rows = measured[0]
    limit = select(rows, Quantity.BOUND, protocol="default", measured=True, family="overall")[0]
    inside = select(rows, Quantity.IN_DISTRIBUTION, model="toy_adv", epsilon=0.02)[0]
    above = dataclasses.replace(inside, value=1.0, low=limit.value + 0.001, high=1.0)
    assert "constants are too low" in laws.classifiers_above_measured_limits([limit, above])[0]
    assert laws.classifiers_above_measured_limits([limit, dataclasses.replace(above, low=limit.value - 0.01)]) == []


def test_the_rows_pass_the_laws_and_make_a_page(measured, tmp_path):
    rows, blocks = measured[:2]
    whole = Report(tuple(rows), {"seed": 0})
    whole.check()
    paths = files.write(tmp_path, report.Outcome(whole, tuple(blocks), (), ()))
    assert paths[-1].read_text().count("<svg") == len(EPSILONS) + 1  # and the curves over epsilon
    assert {"table1.tex", "table3.tex", "curves.png", "figure2.svg"} <= {p.name for p in tmp_path.iterdir()}
    assert set(pairs(blocks)) == {"clean", "PGD", "in-dist."}


def pairs(blocks):
    return next(b.strips for b in blocks if b.strips)


def test_checkpoints_are_in_figure_2_only(measured):
    rows = measured[0]
    assert {r.model for r in rows if vars(r.detail).get("risk") is not None} == {"toy_adv", "toy_adv@1"}
    assert models(rows) == ["toy_adv"]


def test_the_same_again_comes_from_pieces(measured, toys):
    rows, _, _, kept, folder = measured
    again, blocks, _, reused = measure(toys, folder)
    assert again == rows and reused.computed == 0 and reused.reused == kept.computed
    assert np.array_equal(pairs(blocks)["PGD"], pairs(measured[1])["PGD"])


def test_another_seed_is_another_report(measured, toys):
    assert measure(toys, measured[4], key=1)[3].reused <= 2  # natural predictions depend on no key


def test_data_without_codes_leave_out_the_latent_attack(measured, toys):
    g, h, data = toys
    rows, _, omitted, _ = measure((g, h, dataclasses.replace(data, z=None)), measured[4])
    assert not select(rows, Quantity.IN_DISTRIBUTION) and "no latent codes" in omitted[0]


def test_what_is_not_shipped_is_said(tmp_path):
    there, notes = section.present(["no_such_generator"], "generator")
    assert there == [] and "no_such_generator" in notes[0]


def test_presets_are_known_by_name():
    of = {s.name: s for s in sections.named(sections.names())}
    with pytest.raises(InputError, match="did you mean 'quick'"):
        of["label"].sizes("quik", "mnist_gen")
    paper = {name: s.sizes("paper", "mnist_gen") for name, s in of.items()}
    assert paper["constants"].codes == 1000 and paper["classifiers"].attacks[0].images == 10_000
    assert all(set(s.presets) == {"quick", "standard", "paper"} for s in of.values())


def test_a_section_of_ones_own_is_on_the_page(folders, tmp_path, capsys):
    """Nothing of it stands in irob: it is named, and measured, shown and written as the others are."""
    generator, _ = folders
    config = report_door.Config(out=str(tmp_path), generator=generator, dataset="mnist_gen",
                                sections=["tests/outside/brightness.py:build", "samples"])
    report_door.main(config)
    page = (tmp_path / "report.html").read_text()
    assert page.index("Figure 1.") < page.index("Brightness") < page.index("All of it.") < page.index("not of light")
    assert "mean" in (tmp_path / "brightness.tex").read_text() and "Brightness" in capsys.readouterr().out
    with pytest.raises(InputError, match="seed 13"):
        report_door.main(dataclasses.replace(config, seed=13, out=str(tmp_path / "other")))
    with pytest.raises(InputError, match="did you mean 'limits'"):
        sections.named(["limit"])
    with pytest.raises(InputError, match=r"wanted an irob.evaluation.section.Section"):
        sections.named(["tests/outside/brightness.py:no_section"])


@pytest.fixture
def folders(toys, tmp_path_factory, monkeypatch):
    """A generator and a small network on disk, with a checkpoint."""
    root = tmp_path_factory.mktemp("weights")
    # Toys are built, not loaded: `load` rebuilds under eval_shape, which their NumPy construction cannot do.
    monkeypatch.setattr(generators, "load", lambda name: toys[0])
    options = {"latent_dim": 4, "num_classes": 3, "image_shape": SHAPE}
    weights.save(root / "toy", toys[0].variables, {"kind": "generator", "architecture": "affine", "options": options})
    for seed, name in enumerate(("net", "net/checkpoints/5")):
        classifiers.save(root / name, classifiers.build("lp_cnn", 3, SHAPE, key=jax.random.key(seed)))
    return str(root / "toy"), str(root / "net")


def test_the_report_door_writes_everything_twice_the_same(folders, tmp_path, monkeypatch, capsys):
    """Names in, files out: `python -m irob report` on a toy generator and an untrained network."""
    generator, net = folders
    small(monkeypatch)
    first, again = (report_door.Config(out=str(tmp_path / out), generator=generator, unconditional="", classifier=[net],
                                        certified="")
                    for out in ("a", "b"))
    report_door.main(first)
    record = json.loads((tmp_path / "a" / "report.json").read_text())
    assert {r["model"] for r in record["rows"]} == {generator, net, f"{net}@5", "any"}
    assert set(record["provenance"]["weights"]) == {generator, net, f"{net}@5"}
    assert "report.html" in capsys.readouterr().out
    assert not [f for f in (tmp_path / "a").iterdir() if f.name.startswith(".")]
    # Killed after half of its pieces, the second run finds them and ends in the same rows.
    (tmp_path / "b").mkdir()
    shutil.copytree(tmp_path / "a" / "pieces", tmp_path / "b" / "pieces")
    for piece in sorted((tmp_path / "b" / "pieces").iterdir())[::2]:
        piece.unlink()
    report_door.main(again)
    repeated = json.loads((tmp_path / "b" / "report.json").read_text())
    assert repeated["rows"] == record["rows"]
    assert repeated["provenance"]["pieces reused"] > 0


def test_the_attack_door_prints_and_writes(folders, tmp_path, capsys):
    generator, net = folders
    attack_door.main(attack_door.Config(
        classifier=net, generator=generator, attack=["pgd", "in_distribution"], epsilon=[0.05, 0.02], steps=3,
        samples=10, out=str(tmp_path)))
    rows = Report.from_json((tmp_path / "attack.json").read_text()).rows
    assert {(str(r.threat), r.method) for r in rows if r.quantity == Quantity.ROBUST} == {
        (f"l2 {e}", m) for e in ("0.02", "0.05") for m in ("pgd", "pgd + in_distribution")}
    assert "at most" in capsys.readouterr().out


@pytest.mark.parametrize(("changes", "message"), [
    ({"epsilon": [-1.0]}, "epsilon: got -1"),
    ({"epsilon": [float("nan")]}, "epsilon: got nan"),
    ({"attack": ["pgdd"]}, "did you mean 'pgd'"),
    ({"dataset": "mnist_gne"}, "did you mean 'mnist_gen'"),
    ({"classifier": "mnist_gen_avd"}, "unknown"),
    ({"norm": "l3"}, "norm"),
    ({"samples": 0}, "samples"),
    ({"out": "/proc/nowhere"}, "output folder"),
])
def test_bad_input_is_refused_before_anything_is_written(folders, tmp_path, changes, message):
    generator, net = folders
    config = {"classifier": net, "generator": generator, "samples": 4, "out": str(tmp_path / "out")} | changes
    with pytest.raises(InputError, match=message):
        attack_door.main(attack_door.Config(**config))
    assert not (tmp_path / "out" / "attack.json").exists()
