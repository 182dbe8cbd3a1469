"""Training on the chip: weights of pulsed devices, and what each scheme does with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crossjax import insitu, pulsed, replace
from crossjax._random import named, numbered
from crossjax.insitu import at_once
from crossjax.insitu.mixed_precision import binned, binomial
from crossjax.insitu.trains import coincidences

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
STEADY = pulsed.Pulsed(step=0.01)
SOFT = pulsed.Pulsed(pulsed.soft_bounds(), step=0.02)
SCHEMES = {
    "sgd": insitu.PulsedSGD(insitu.Single(STEADY)),
    "pair": insitu.PulsedSGD(insitu.OneSided(pulsed.Pulsed(pulsed.PowStep(), step=0.02, low=0.0, noise=0.5))),
    "significance": insitu.Significance(every=4),
    "hybrid": insitu.Significance(insitu.Levels(3), insitu.Single(STEADY), 2.0, 4, residue="subtract"),
    "mixed": insitu.MixedPrecision(insitu.OneSided(pulsed.Pulsed(low=0.0, step=0.01))),
    "v2": insitu.TikiTaka("v2", insitu.Single(SOFT), insitu.Single(STEADY), granularity=8.0),
    "chopped": insitu.TikiTaka("chopped", insitu.Single(SOFT), insitu.Single(STEADY), granularity=8.0),
    "agad": insitu.TikiTaka("agad", insitu.Single(SOFT), insitu.Single(STEADY), granularity=8.0, chop=0.3),
}


# ---------------------------------------------------------------------------------------------------- weights


def test_a_one_sided_pair_is_refreshed_where_both_are_high():
    pair = insitu.OneSided(pulsed.Pulsed(low=0.0, step=0.01))
    state = pair.draw(KEY, (1, 3), count=True)
    state = replace(state, x=jnp.array([[[0.8, 0.6, 0.3]], [[0.4, 0.3, 0.8]]]))
    then = pair.rest(KEY, state)
    np.testing.assert_allclose(then.x, [[[0.4, 0.6, 0.0]], [[0.0, 0.3, 0.5]]], atol=1e-6)
    np.testing.assert_array_equal(then.pulses, [[[2, 0, 1]], [[1, 0, 2]]])
    np.testing.assert_allclose(pair.value(then), pair.value(state), atol=1e-6)


def test_pulses_of_a_pair_go_to_one_device():
    pair = insitu.OneSided(pulsed.Pulsed(low=0.0, step=0.01))
    state = pair.pulse(KEY, pair.draw(KEY, (1, 3), count=True), jnp.array([[3, -2, 0]]))
    np.testing.assert_allclose(state.x[:, 0], [[0.03, 0, 0], [0, 0.02, 0]], atol=1e-7)
    np.testing.assert_array_equal(state.pulses[:, 0], [[3, 0, 0], [0, 2, 0]])


@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_reference_is_everybodys(shared):
    cell = insitu.Against(pulsed.Pulsed(low=0.0, step=0.01, high_spread=0.1), shared=shared)
    state = cell.draw(KEY, (4, 5))
    assert state.reference.x.shape == ((1, 1) if shared else (4, 5))
    np.testing.assert_allclose(cell.value(state), 0.0, atol=1e-6)
    np.testing.assert_allclose(cell.value(cell.pulse(KEY, state, jnp.ones((4, 5), int))), 0.02, atol=1e-6)


# ---------------------------------------------------------------------------------------------------- schemes


@pytest.mark.parametrize("name", SCHEMES)
def test_a_scheme_follows_a_gradient_and_its_vmap_is_a_loop(name):
    scheme, goal = SCHEMES[name], 0.3 * jax.random.normal(jax.random.key(3), (6, 4))
    count = 800 if name == "agad" else 400  # it writes nothing in its first period, and empties its buffer
    x = jax.random.normal(jax.random.key(4), (count, 6))

    def run(key):
        state = scheme.start(key, jnp.zeros((6, 4)))

        def step(state, n):
            d = x[n] @ (goal - scheme.weights(state))
            return scheme.update(jax.random.fold_in(key, n), state, x[n][None], d[None], 0.05, n), None

        return scheme.weights(jax.lax.scan(step, state, jnp.arange(count))[0])

    keys = jax.random.split(KEY, 2)
    together = jax.jit(jax.vmap(run))(keys)
    np.testing.assert_allclose(together[0], jax.jit(run)(keys[0]), atol=1e-5)
    assert float(jnp.abs(together - goal).mean()) < 0.5 * float(jnp.abs(goal).mean())


@pytest.mark.parametrize("name", SCHEMES)
def test_schemes_count_their_pulses(name):
    scheme = SCHEMES[name]
    state = scheme.start(KEY, jnp.zeros((3, 2)), count=True)
    for n in range(24):
        state = scheme.update(jax.random.key(n), state, jnp.ones((1, 3)), jnp.full((1, 2), 0.9), 0.05, jnp.asarray(n))
    assert all(int(np.sum(count)) > 0 for count in scheme.pulses(state).values())


def test_a_batch_in_sequence_is_its_examples_and_a_batch_of_positions_is_their_sum():
    scheme = insitu.PulsedSGD(insitu.Single(replace(STEADY, noise=0.3)), insitu.Rounded())
    x, d = jax.random.normal(KEY, (5, 3)), jax.random.normal(jax.random.key(1), (5, 2))
    state = scheme.start(KEY, jnp.zeros((3, 2)))
    quiet = insitu.PulsedSGD(insitu.Single(STEADY), insitu.Rounded())
    found = quiet.update(KEY, state, x, d, 0.02, jnp.asarray(0))
    one = state
    for a, b in zip(x, d, strict=True):
        one = quiet.update(KEY, one, a[None], b[None], 0.02, jnp.asarray(0))
    np.testing.assert_allclose(found.x, one.x, atol=1e-6)
    summed = quiet.update(KEY, state, x[None], d[None], 0.02, jnp.asarray(0))  # one example of five positions
    total = insitu.Rounded().total(KEY, x, d, 0.02, 0.01)
    np.testing.assert_allclose(summed.x, jnp.clip(state.x + 0.01 * total, -1, 1), atol=1e-6)


@pytest.mark.parametrize("bound", [1.0, 0.05], ids=["a few at their bounds", "nearly all"])
def test_constant_steps_taken_at_once_are_those_of_the_sequence(bound):
    device = pulsed.Pulsed(step=0.02, low=-bound, high=bound, step_spread=0.2, high_spread=0.3, low_spread=0.3)
    x = jax.random.normal(KEY, (40, 30))
    d = jax.random.normal(jax.random.key(1), (40, 20))
    trains, state = insitu.Trains(), device.draw(KEY, (30, 20), count=True)
    found = jax.jit(at_once.updated)(KEY, device, state, trains, x, d, 0.03)
    wanted, pulses = state.x, 0
    for begin in (0, 32):
        part = slice(begin, begin + 32)
        rows, columns = trains.words(named(numbered(KEY, begin), "counts"), x[part], d[part], 0.03, 0.02)
        for k in range(rows.shape[0]):
            n = coincidences(rows[k], columns[k], x[part][k], d[part][k])
            moved = wanted + jnp.where(n > 0, n * state.up, n * state.down)
            wanted, pulses = jnp.clip(moved, state.low, state.high), pulses + jnp.abs(n)
    np.testing.assert_allclose(found.x, wanted, atol=2e-6)
    np.testing.assert_array_equal(found.pulses, pulses)
    stopped = np.mean(np.asarray((wanted == state.low) | (wanted == state.high)))
    assert 0 < stopped < 1 / 30 if bound == 1.0 else stopped > 1 / 4


SLOPING = {"step_spread": 0.2, "asymmetry": 0.1}
ONE_BY_ONE = {
    "single": insitu.Single(pulsed.Pulsed(pulsed.LinearStep(0.5, 0.2), step=0.02, **SLOPING)),
    "against": insitu.Against(pulsed.Pulsed(pulsed.LinearStep(0.5, 0.2), step=0.02, low=0.0, **SLOPING)),
    "pair": insitu.OneSided(pulsed.Pulsed(pulsed.PowStep(), step=0.02, low=0.0, step_spread=0.2)),
}


@pytest.mark.parametrize("name, batch, rate", [("single", 6, 0.05), ("single", 40, 0.002), ("against", 6, 0.01),
                                               ("pair", 33, 0.01)])  # fmt: skip
def test_a_batch_by_trains_is_its_examples_one_after_the_other(name, batch, rate):
    """Whether cells have many pulses or few, and whatever they share."""
    x = jax.random.normal(KEY, (batch, 30))
    d = jax.random.normal(jax.random.key(1), (batch, 20))
    scheme = insitu.PulsedSGD(ONE_BY_ONE[name], every=1000)
    state = one = scheme.start(KEY, jnp.zeros((30, 20)), count=True)
    found = jax.jit(scheme.update)(KEY, state, x, d, rate, 0)
    words = scheme.counts.words(named(KEY, "counts"), x, d, rate, scheme.synapse.step)
    pulse = jax.jit(lambda state, *example: scheme.synapse.pulse(KEY, state, coincidences(*example)))
    for example in zip(*words, x, d, strict=True):
        one = pulse(one, *example)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_pulses_of_a_batch_have_noise_of_their_own():
    """Their mean and deviation are those of the examples one after the other."""
    device = pulsed.Pulsed(pulsed.LinearStep(0.5, 0.2), step=0.01, noise=0.5)
    scheme = insitu.PulsedSGD(insitu.Single(device))
    x, d = jnp.ones((8, 30)), jnp.ones((8, 20))  # every cell gets the same pulses
    state = scheme.start(KEY, jnp.zeros((30, 20)))
    keys = jax.random.split(KEY, 40)
    at_once = jax.vmap(lambda k: scheme.update(k, state, x, d, 0.03, 0).x)(keys)
    singly = jax.vmap(lambda k: _singly(scheme, k, state, x, d, 0.03).x)(keys)
    assert float(at_once.mean()) == pytest.approx(float(singly.mean()), rel=0.02)
    assert float(at_once.std()) == pytest.approx(float(singly.std()), rel=0.05)


def _singly(scheme, key, state, x, d, rate):
    for k, example in enumerate(zip(x, d, strict=True)):
        state = scheme.update(numbered(key, k), state, *(a[None] for a in example), rate, 0)
    return state


@pytest.mark.parametrize("name", ["reram_es", "ecram"])
def test_several_pulses_together_are_nearly_those_one_by_one(name):
    quiet = dict.fromkeys(("step_spread", "asymmetry_spread", "low_spread", "high_spread", "noise", "write_noise"))
    device = replace(pulsed.get(name), **quiet)
    state = device.put(KEY, device.draw(KEY, (41,)), jnp.linspace(-0.7, 0.7, 41))
    for n in (1, 5, -20):
        one = device.pulse(KEY, state, jnp.full(41, n)).x
        both = replace(device, together=True).pulse(KEY, state, jnp.full(41, n)).x
        np.testing.assert_allclose(both, one, atol=0.02 * float(jnp.abs(one - state.x).max()))
    loud = replace(device, noise=2.0, together=True)
    state = loud.draw(KEY, (20_000,))
    spread = float((loud.pulse(KEY, state, jnp.full(20_000, 9)).x).std())
    single = float((loud.pulse(KEY, state, jnp.full(20_000, 1)).x).std())
    assert spread == pytest.approx(3 * single, rel=0.05)


def test_one_coincidence_moves_a_weight_by_one_step():
    scheme = insitu.PulsedSGD(insitu.Single(STEADY))
    state = scheme.update(KEY, scheme.start(KEY, jnp.zeros((1, 1))), jnp.ones((1, 1)), jnp.ones((1, 1)), 0.01, 0)
    assert float(scheme.weights(state)[0, 0]) == pytest.approx(0.01, rel=1e-6)


def test_devices_leak_to_where_a_reset_leaves_them():
    for value, home, scale in ((0.47, 0.3, 0.95), (0.21, -0.3, 0.28), (0.64, 0.3, 0.33), (0.12, -0.3, 0.12)):
        device = pulsed.Pulsed(lifetime=1 / (1 - scale), reset=home)
        state = device.put(KEY, device.draw(KEY, (1,)), jnp.full(1, value))
        for _ in range(2):
            state = device.rest(KEY, state)
        assert float(state.x[0]) == pytest.approx((value - home) * scale**2 + home, rel=1e-5)


def test_a_transfer_comes_every_t_examples_keeps_the_weight_and_turns_the_polarity():
    scheme = insitu.Significance(
        insitu.Tuned(insitu.OneSided(pulsed.Pulsed(low=0.0, step=0.01), high=1.0), rounds=30), every=3
    )
    state = scheme.start(KEY, jnp.full((2, 2), 0.1))
    for n in range(6):
        before = scheme.weights(state)
        pulse = scheme.update(KEY, state, jnp.ones((1, 2)), jnp.full((1, 2), 0.5), 0.01, jnp.asarray(n))
        assert float(pulse.sign) == (-1.0) ** ((n + 1) // 3)
        np.testing.assert_allclose(scheme.weights(pulse), before + 0.005, atol=2e-3)
        if (n + 1) % 3 == 0:
            np.testing.assert_allclose(scheme.trained(pulse), scheme.weights(pulse), atol=0.011)
        state = pulse


def test_polarity_inversion_cancels_a_fixed_asymmetry():
    drift = {}
    for invert in (False, True):
        lower = insitu.Against(pulsed.Pulsed(low=0.0, step=0.002, asymmetry=0.4))
        scheme = insitu.Significance(insitu.Levels(12), lower, every=50, invert=invert)
        state = scheme.start(KEY, jnp.zeros((1, 1)))
        sign = jnp.where(jnp.arange(400) % 2 == 0, 1.0, -1.0)  # as much up as down

        def step(state, n, scheme=scheme, sign=sign):
            x, d = jnp.ones((1, 1)), sign[n].reshape(1, 1)
            return scheme.update(jax.random.fold_in(KEY, n), state, x, d, 0.01, n), None

        drift[invert] = abs(float(scheme.weights(jax.lax.scan(step, state, jnp.arange(400))[0])[0, 0]))
    assert drift[False] > 0.2
    assert drift[True] < 0.1 * drift[False]


def test_residue_is_rewritten_subtracted_or_dropped():
    for residue, kept in (("rewrite", 0.10), ("subtract", 0.10), ("drop", 0.0)):
        scheme = insitu.Significance(insitu.Levels(3), insitu.Single(STEADY), 1.0, 10, False, residue=residue)
        state = scheme.start(KEY, jnp.full((1, 1), 0.10))
        state = scheme.transfer(KEY, replace(state, lower=scheme.lower.put(KEY, state.lower, jnp.full((1, 1), 0.10))))
        assert float(scheme.weights(state)[0, 0]) == pytest.approx(kept, abs=6e-3)


def test_mixed_precision_keeps_what_it_does_not_send():
    scheme = insitu.MixedPrecision(insitu.Single(STEADY))
    state = scheme.start(KEY, jnp.zeros((1, 2)))
    state = scheme.update(KEY, state, jnp.ones((1, 1)), jnp.array([[0.27, -0.04]]), 0.1, jnp.asarray(0))
    np.testing.assert_allclose(scheme.weights(state), [[0.02, 0.0]], atol=1e-7)
    np.testing.assert_allclose(state.chi, [[0.007, -0.004]], atol=1e-7)
    coarse = replace(scheme, epsilon=0.02)
    state = coarse.update(KEY, coarse.start(KEY, jnp.zeros((1, 1))), jnp.ones((1, 1)), jnp.array([[0.5]]), 0.1, 0)
    np.testing.assert_allclose(coarse.weights(state), [[0.02]], atol=1e-7)  # two pulses were wanted, of a step each


def test_stochastic_trains_of_mixed_precision_are_binomial():
    n = jnp.array([[5, -2, 0, 31, 60]])
    found = np.asarray(jax.vmap(lambda k: binomial(k, n))(jax.random.split(KEY, 20_000)), float)[:, 0]
    assert found.mean(0) == pytest.approx([31 * 5 / 31, -2, 0, 31, 31], abs=0.05)  # beyond 31 is lost
    assert found[:, 0].var() == pytest.approx(5 * (1 - 5 / 31), rel=0.05)


@pytest.mark.parametrize("bins", [(None, 5), (5, None), (5, 5)])
def test_either_side_of_an_outer_product_may_be_binned_alone(bins):
    x = jax.random.normal(KEY, (2000, 3))
    rounded = [binned(jax.random.key(k), x, b) for k, b in enumerate(bins)]
    for a, b in zip(rounded, bins, strict=True):
        assert len(np.unique(np.round(np.asarray(a / jnp.abs(x).max(1, keepdims=True)), 4))) <= (b or 10**6)
        assert float(jnp.abs((a - x).mean(0)).max()) < 0.03  # unbiased, every column in its own place


def test_what_is_seen_of_the_fast_array_is_unchopped():
    scheme = insitu.TikiTaka("chopped", fast=insitu.Single(STEADY), slow=insitu.Single(STEADY), visible=0.25)
    state = scheme.start(KEY, jnp.full((2, 3), 0.2))
    state = replace(state, fast=scheme.fast.put(KEY, state.fast, jnp.full((2, 3), 0.4)))
    for chopper in ([1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]):
        c = jnp.array(chopper)
        np.testing.assert_allclose(
            scheme.weights(replace(state, chopper=c)),
            jnp.broadcast_to(0.25 * c[:, None] * 0.4 + 0.2, (2, 3)),
            rtol=1e-6,
        )


def test_dynamic_references_take_an_offset_away_where_version_two_follows_it():
    offset = replace(STEADY, reference_spread=0.3)
    ends = {}
    for kind in ("v2", "agad"):
        fast = insitu.Single(replace(offset, law=pulsed.soft_bounds()))
        scheme = insitu.TikiTaka(kind, fast, insitu.Single(STEADY), granularity=20.0, chop=0.1)
        state = scheme.start(KEY, jnp.zeros((1, 60)))

        def step(state, n, scheme=scheme):
            d = 0.1 * jax.random.normal(jax.random.fold_in(KEY, n), (1, 60)) - scheme.weights(state)
            return scheme.update(jax.random.fold_in(KEY, n), state, jnp.ones((1, 1)), d, 0.2, n), None

        ends[kind] = float(jnp.std(scheme.weights(jax.lax.scan(step, state, jnp.arange(3000))[0])))
    assert ends["agad"] < 0.5 * ends["v2"]


@pytest.mark.parametrize("kind", ["v2", "chopped", "agad"])
def test_presets_of_tiki_taka(kind):
    assert insitu.from_preset(kind, "ecram").kind == kind
    with pytest.raises(ValueError, match="device with settings of"):
        insitu.from_preset(kind, "pcm")
