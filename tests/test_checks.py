"""Bad values are refused where they are given, in one line; what JAX rebuilds is not judged."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import crossjax as cx
from benchmarks import bad_calls
from crossjax import devices

TILE = cx.Tile(8, 8, compensation=None)


@pytest.fixture(scope="module")
def chip():
    return cx.program(jax.random.key(0), TILE, jnp.eye(4, 3), cx.Exact())[0]


# ------------------------------------------------------------------------------------------------ specs


def test_generated_bad_fields_are_refused_by_name(capfd):
    cases = list(bad_calls.spec_cases())
    found = [(case.name, *bad_calls.outcome(case)) for case in cases[::6]]
    assert len(found) > 500
    assert [f for f in found if f[1] != "clear"] == []


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: cx.Tile(noise="0.1"), r"Tile\.noise must be a number or an OutputNoise .*, got '0\.1' \(str\)"),
        (lambda: cx.Tile(adc=True), r"Tile\.adc must be an ADC or None, got True"),
        (lambda: cx.Tile(cell=None), r"Tile\.cell must be a UnitCell .*got None"),
        (lambda: cx.Tile(cell=cx.Pairs), "an instance, not the class"),
        (lambda: cx.Device(drift=-1), r"Device\.drift must be a Drift"),
        (lambda: cx.Device(parallel=-3), r"Device\.parallel must be a whole number ≥ 1"),
        (lambda: cx.Device(g_min=jnp.array(30.0)), r"Device\.g_min must be below g_max, got 30 and 25"),
        (lambda: devices.Polynomial([]), "one or more numbers"),
        (lambda: devices.LogRelaxation(0.1, (1.0,), 25.0), "must be 2 numbers"),
        (lambda: devices.ProgrammingError(lambda x: x, 25.0), r"decorate its class with crossjax\.spec"),
        (lambda: cx.replace(TILE, **{"device.g_max": 1j}), r"Device\.g_max must be a number, got 1j"),
        (lambda: cx.ADC(range=jnp.array([1.0, -2.0])), r"ADC\.range must be > 0, got -2"),
        (lambda: cx.ADC(range=1e39), r"ADC\.range must be > 0 and what float32 holds"),
        (lambda: cx.ADC(range=1e-46), r"ADC\.range must be > 0 and what float32 holds"),
        (lambda: devices.noisy(sigma=-1), "sigma must be ≥ 0"),
        (lambda: cx.replace({}, rows=1), "fields of a spec"),
    ],
)
def test_what_was_wrong_expected_and_got(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@cx.spec
class Leaky:
    """A user's own part."""

    share: float = 0.1
    counts: tuple[int, ...] = ()
    law: devices.Law | None = None


def test_a_users_own_spec_is_checked_by_its_annotations():
    assert Leaky(1, [2, 3]) == Leaky(1.0, (2.0, 3.0))
    for bad, field in ((Leaky, {"share": "much"}), (Leaky, {"counts": ("a",)}), (Leaky, {"law": 3.0})):
        with pytest.raises(ValueError, match=rf"Leaky\.{next(iter(field))} must be"):
            bad(**field)
    with pytest.raises(ValueError, match=r"Leaky\.share must be finite"):
        Leaky(float("nan"))


def test_a_name_that_only_type_checkers_see_is_not_judged():
    @cx.spec
    class Local:
        part: "Nowhere"  # noqa: F821
        size: float = 1.0

    assert Local("anything").part == "anything"
    with pytest.raises(ValueError, match=r"Local\.size must be a number"):
        Local("anything", size=None)


@pytest.mark.parametrize(
    "filler", [object(), None, True, jax.ShapeDtypeStruct((), np.float32), "spectral", 0, -1.0, np.array(np.nan)]
)
def test_what_jax_rebuilds_passes(filler):
    tile = cx.presets.hermes()
    leaves, structure = jax.tree.flatten(tile)
    filled = jax.tree.unflatten(structure, [filler] * len(leaves))
    again = jax.tree.unflatten(structure, leaves)
    assert again == tile and type(again) is cx.Tile and jax.tree.structure(again) == structure
    assert filled.adc.range is filler and jax.tree.map(lambda _: filler, tile).device.g_max is filler
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tile)]
    assert ".adc.range" in names and len(names) == len(leaves)


def test_masks_sweeps_and_optimisers_see_specs_as_trees():
    device = devices.pcm()
    axes = jax.tree.unflatten(jax.tree.structure(device), [0] + [None] * (len(jax.tree.leaves(device)) - 1))
    swept = cx.replace(device, g_max=jnp.array([20.0, 25.0]))
    assert jax.vmap(lambda d: d.g_max * 2, in_axes=(axes,))(swept).shape == (2,)
    optimiser = optax.adam(0.1)
    gradient = jax.grad(lambda d: d.g_max * d.drift.t_0)(jax.tree.map(jnp.asarray, device))
    updates, _ = optimiser.update(gradient, optimiser.init(device), device)
    assert float(optax.apply_updates(device, updates).g_max) == pytest.approx(24.9)


# --------------------------------------------------------------------------------------- keys and times


@pytest.mark.parametrize(
    "key", [0, 1.5, None, "key", True, np.zeros(2), jnp.zeros(3, jnp.uint32), jax.random.split(jax.random.key(0), 2)]
)
def test_what_is_no_key_is_called_so(chip, key):
    calls = [
        lambda: cx.program(key, TILE, np.eye(4, 3)),
        lambda: cx.mvm(key, TILE, chip, np.ones(4)),
        lambda: cx.read(key, TILE, chip),
        lambda: cx.weights_at(key, TILE, chip),
        lambda: cx.mvm_error(key, TILE, chip, np.eye(4, 3)),
        lambda: cx.random_inputs(key, TILE, np.eye(4, 3), 8),
        lambda: devices.pcm().reset(key, (3,)),
        lambda: jax.eval_shape(lambda k: cx.read(k, TILE, chip), key),
    ]
    for call in calls[: 7 if isinstance(key, str) else 8]:  # no text can be traced
        with pytest.raises(ValueError, match=r"\bkey\b"):
            call()


def test_keys_of_both_kinds_and_one_of_many_are_keys(chip):
    x = np.ones(4)
    for key in (jax.random.key(0), jax.random.PRNGKey(0), np.asarray(jax.random.PRNGKey(0))):
        cx.mvm(key, TILE, chip, x)
    assert jax.vmap(lambda k: cx.mvm(k, TILE, chip, x))(jax.random.split(jax.random.key(0), 2)).shape == (2, 3)


@pytest.mark.parametrize("t", ["1 d", None, True, 1j, [1.0], -1, float("inf")])
def test_what_is_no_time_is_called_so(chip, t):
    with pytest.raises(ValueError, match=r"\b(time|t)\b"):
        cx.mvm(jax.random.key(0), TILE, chip, np.ones(4), t)


# ------------------------------------------------------------------------------------ related arguments


OTHERS = {
    "1 device": {"cell": cx.SharedReference()},
    "4 devices": {"cell": cx.Pairs((2.0, 1.0))},
    "more tiles": {"rows": 2},
    "an ADC": {"adc": cx.ADC()},
    "drift": {"device": devices.pcm()},
    "digital": {"subtract": "digital"},
    "scales": {"scaling": "column"},
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_chip_and_another_tile(chip, other):
    tile, key = cx.replace(TILE, **OTHERS[other]), jax.random.key(0)
    for call in (
        lambda: cx.mvm(key, tile, chip, np.ones(4)),
        lambda: cx.read(key, tile, chip),
        lambda: cx.mvm_error(key, tile, chip, np.eye(4, 3)),
        lambda: jax.eval_shape(lambda c: cx.weights_at(key, tile, c), chip),
    ):
        with pytest.raises(ValueError, match="made for another tile"):
            call()


def test_drift_compensation_needs_the_reference_it_was_programmed_with():
    key, plain = jax.random.key(0), cx.presets.pcm(rows=8, cols=8)
    none = cx.replace(plain, compensation=None)
    made = jax.eval_shape(lambda: (cx.program(key, plain, np.eye(4, 3))[0], cx.program(key, none, np.eye(4, 3))[0]))
    jax.eval_shape(lambda c: cx.read(key, none, c), made[0])
    jax.eval_shape(lambda c: cx.read(key, plain, cx.replace(c, reference=None)), made[0])
    with pytest.raises(ValueError, match="no drift compensation, the tile drift compensation"):
        jax.eval_shape(lambda c: cx.read(key, plain, c), made[1])
    with pytest.raises(ValueError, match="calibration vectors: 32, the tile 8"):
        jax.eval_shape(lambda c: cx.read(key, cx.replace(plain, calibration_vectors=8), c), made[0])


def test_weights_and_populations_that_do_not_fit_the_chip(chip):
    key = jax.random.key(0)
    for bad in (np.ones((12, 1)), np.ones((1, 4, 3)), np.ones((3, 4))):
        with pytest.raises(ValueError, match=r"weights must have the chip's shape \(4, 3\)"):
            cx.mvm_error(key, TILE, chip, bad)
    assert float(cx.mvm_error(key, TILE, chip, np.eye(4, 3).tolist(), np.ones((2, 4)))) < 1e-5
    with pytest.raises(ValueError, match=r"take jax\.vmap"):
        cx.mvm(key, TILE, jax.tree.map(lambda a: jnp.stack([a, a]), chip), np.ones(4))


# ------------------------------------------------------------------------------------------ inside jit


def test_checks_reach_inside_transformations_and_leave_nothing_behind(chip):
    traces = []

    def product(x, t, noise):
        traces.append(1)
        return cx.mvm(jax.random.key(0), cx.replace(TILE, noise=noise), chip, x, t)

    jitted, x = jax.jit(product), jnp.ones(4)
    assert jnp.isnan(jitted(x.at[1].set(jnp.nan), 0.0, 0.1)).all()
    for bad, message in (
        ((x.at[1].set(jnp.nan), 0.0, 0.1), "x must be finite, got nan"),
        ((x, -1.0, 0.1), "time must be finite and ≥ 0 .* got -1"),
        ((x, 0.0, -0.1), r"Tile\.noise must be ≥ 0, got -0\.1"),
    ):
        with pytest.raises(ValueError, match=message), cx.checks():
            jitted(*bad)
    swept = jax.vmap(jax.grad(lambda x, t: product(x, t, 0.1).sum()), (None, 0))
    with pytest.raises(ValueError, match="time must be finite"), cx.checks():
        swept(x, jnp.array([0.0, -3.0]))
    with cx.checks():
        jitted(x, 0.0, 0.1)
    before = len(traces)
    assert jnp.isnan(jitted(x.at[1].set(jnp.nan), 0.0, 0.1)).all()  # as before, and not compiled again
    assert len(traces) == before
    bare = str(jax.make_jaxpr(lambda x: product(x, 0.0, 0.1))(x))
    with cx.checks():
        assert "debug_callback" in str(jax.make_jaxpr(lambda x: product(x, 0.0, 0.1))(x))
    assert "debug_callback" not in bare
