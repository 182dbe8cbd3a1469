"""Networks that learn on the chip: both products, whole runs, their gradients, and bad schemes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import crossjax as cx
from crossjax import insitu, pulsed, replace, training

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
STEADY = pulsed.Pulsed(step=0.01)


# ------------------------------------------------------------------------------------------------- products


def test_both_products_and_the_tape():
    w, x = 0.3 * jax.random.normal(KEY, (6, 4)), jax.random.normal(KEY, (5, 6))
    tape = insitu.Tape(jnp.zeros((5, 6)), jnp.zeros((5, 4)))

    def loss(tape, x):
        return jnp.sum(jnp.sin(insitu.product(KEY, insitu.Sides(), w, jnp.asarray(2.0), tape, x)))

    found, slope = jax.grad(loss, (0, 1))(tape, x)
    d = jnp.cos(2 * x @ w)
    np.testing.assert_allclose(found.x, x)
    np.testing.assert_allclose(found.d, d, rtol=1e-5)
    np.testing.assert_allclose(slope, d @ (2 * w).T, rtol=1e-5, atol=1e-6)


def test_the_backward_product_goes_through_its_own_converters():
    sides = insitu.Sides(
        cx.Tile(rows=4, cols=3), backward=cx.Tile(rows=3, cols=4, dac=cx.DAC(levels=3, scaling="absmax"))
    )
    w, x = 0.3 * jax.random.normal(KEY, (6, 4)), jax.random.normal(KEY, (1, 6))
    tape = insitu.Tape(jnp.zeros((1, 6)), jnp.zeros((1, 4)))
    d = jnp.array([[1.0, 0.9, -0.2, 0.3]])
    _, back = jax.vjp(lambda x: insitu.product(KEY, sides, w, jnp.asarray(1.0), tape, x), x)
    np.testing.assert_allclose(back(d)[0], jnp.round(d) @ w.T, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="wires"):
        insitu.Sides(cx.Tile(wires=cx.Wires()))


def test_products_of_pulsed_arrays_lose_what_bit_lines_drop():
    w, x = 0.3 * jax.random.normal(KEY, (256, 4)), jax.random.normal(jax.random.key(1), (5, 256))
    drop = cx.wires.StaticDrop(1.0, 25.0)
    tile = cx.Tile(rows=256, cols=4, wires=drop, dac=None)
    tape = insitu.Tape(jnp.zeros((5, 256)), jnp.zeros((5, 4)))
    y, back = jax.vjp(lambda x: insitu.product(KEY, insitu.Sides(tile), w, jnp.asarray(2.0), tape, x), x)
    np.testing.assert_allclose(y, 2 * drop.sums(jnp.matmul, x, w), rtol=1e-4, atol=1e-5)
    assert 0.01 < jnp.linalg.norm(y - 2 * x @ w) / jnp.linalg.norm(y) < 0.3
    d = jnp.ones((5, 4))
    np.testing.assert_allclose(back(d)[0], 2 * drop.sums(jnp.matmul, d, w.T), rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------------- networks


def small():
    x, y = cx.images.digits()
    return (x / x.max()).astype(np.float32), np.asarray(y, np.int32)


def test_fine_linear_devices_learn_exactly_what_a_digital_network_learns():
    x, y = small()
    net = cx.nn.models.MLP((64, 16, 10), rngs=nnx.Rngs(0))
    fine = insitu.PulsedSGD(insitu.Single(pulsed.Pulsed(step=1e-5)), insitu.Expected())
    shape = jax.ShapeDtypeStruct((1, 64), jnp.float32)
    analog = cx.nn.to_analog(net, cx.nn.Learning(fine), example=shape, report=None)
    chip = cx.nn.read(KEY, cx.nn.program(KEY, analog, ranges="keep", report=None)[0])
    step, params = training.InSitu(0.1), nnx.state(net, nnx.Param)
    (_, state), (graph, _, rest) = step.init(chip), nnx.split(net, nnx.Param, ...)
    for k in range(4):
        one = jnp.asarray(x[k : k + 1]), jnp.asarray(y[k : k + 1])
        state, *_ = step.learn(KEY, chip, state, *one, jnp.asarray(k))
        slope = jax.grad(lambda p, one=one: training.cross_entropy(nnx.merge(graph, p, rest, copy=True), *one)[0])(
            params
        )
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, slope)
    for layer, (_, op) in zip((0, 1), cx.nn.learning.learners(chip), strict=True):
        found, wanted = op.reading.get_value(), params["layers"][layer]
        np.testing.assert_allclose(found.w[0] * found.scale[0], wanted["kernel"][...], atol=1e-6)
        np.testing.assert_allclose(chip.layers[layer].bias[...], wanted["bias"][...], atol=1e-6)


class Rows(nnx.Module):
    """Images read row by row."""

    def __init__(self, rngs):
        self.lstm = cx.nn.language.LSTM(8, 12, rngs=rngs)
        self.out = nnx.Linear(12, 10, rngs=rngs)

    def __call__(self, x):
        blank = jnp.zeros((x.shape[0], 12))
        return self.out(self.lstm(x, (blank, blank))[0][:, -1])


def test_a_recurrence_learns_exactly_what_a_digital_one_learns():
    x, y = small()
    x, net = x.reshape(-1, 8, 8), Rows(nnx.Rngs(0))
    fine = insitu.PulsedSGD(insitu.Single(pulsed.Pulsed(step=1e-5)), insitu.Expected())
    shape = jax.ShapeDtypeStruct((2, 8, 8), jnp.float32)
    analog = cx.nn.to_analog(net, cx.nn.Learning(fine), example=shape, report=None)
    chip = cx.nn.read(KEY, cx.nn.program(KEY, analog, ranges="keep", report=None)[0])
    step, params = training.InSitu(0.5, 2), nnx.state(net, nnx.Param)
    (_, state), (graph, _, rest) = step.init(chip), nnx.split(net, nnx.Param, ...)
    for k in range(3):
        one = jnp.asarray(x[2 * k : 2 * k + 2]), jnp.asarray(y[2 * k : 2 * k + 2])
        state, *_ = step.learn(KEY, chip, state, *one, jnp.asarray(2 * k))
        slope = jax.grad(lambda p, one=one: training.cross_entropy(nnx.merge(graph, p, rest, copy=True), *one)[0])
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, slope(params))
    names = [name for name, _ in cx.nn.learning.learners(chip)]
    assert names == ["lstm.gates", "out"]
    kernels = params["lstm"]["gates"]["kernel"][...], params["out"]["kernel"][...]
    for wanted, before, (_, op) in zip(
        kernels, (net.lstm.gates.kernel, net.out.kernel), cx.nn.learning.learners(chip), strict=True
    ):
        found = op.reading.get_value()
        assert jnp.abs(wanted - before[...]).max() > 1e-3
        np.testing.assert_allclose(found.w[0] * found.scale[0], wanted, atol=2e-6)


def test_a_recurrence_learns_by_pulse_trains_on_the_chip():
    x, y = small()
    device = pulsed.Pulsed(step=0.002, noise=0.3, step_spread=0.3)
    found = training.fit_in_situ(
        KEY, Rows(nnx.Rngs(0)), (x.reshape(-1, 8, 8)[:600], y[:600]), insitu.PulsedSGD(insitu.Single(device)), rate=0.2,
        minibatch=2, batch=100, epochs=6, progress=False,
    )  # fmt: skip
    assert found.loss[-6:].mean() < 0.6 * found.loss[0]


def test_a_step_that_is_left_out_or_taken_twice_is_no_update():
    class Strange(Rows):
        def __init__(self, rngs, steps):
            super().__init__(rngs)
            self.steps = steps

        def __call__(self, x):
            h = jnp.zeros((x.shape[0], 40))
            for n, step in enumerate(self.steps):
                h = jnp.tanh(cx.nn.at_step(self.lstm.gates, step)(jnp.concatenate([x[:, n], h[:, :12]], axis=1)))
            return self.out(h[:, :12])

    x, y = small()
    data = x.reshape(-1, 8, 8)[:8], y[:8]
    for steps, good in (((0, 1), True), ((0, 0), False), ((1, 2), False)):
        run = lambda steps=steps: training.fit_in_situ(  # noqa: E731
            KEY, Strange(nnx.Rngs(0), steps), data, insitu.PulsedSGD(), rate=0.1, epochs=2, progress=False
        )
        if good:
            assert np.isfinite(run().loss).all()
        else:
            with pytest.raises(FloatingPointError):
                run()


def test_a_run_on_the_chip_resumes(tmp_path):
    x, y = small()
    net, scheme = cx.nn.models.MLP((64, 8, 10), rngs=nnx.Rngs(0)), insitu.Significance(every=50)
    options = {"rate": 0.05, "batch": 50, "progress": False}
    whole = training.fit_in_situ(KEY, net, (x[:100], y[:100]), scheme, epochs=3, **options)
    training.fit_in_situ(KEY, net, (x[:100], y[:100]), scheme, epochs=1, checkpoints=tmp_path, **options)
    again = training.fit_in_situ(KEY, net, (x[:100], y[:100]), scheme, epochs=3, checkpoints=tmp_path, **options)
    np.testing.assert_array_equal(whole.loss, again.loss)


def test_convolutions_digital_layers_and_schemes_side_by_side_learn():
    x, y = small()
    images = x.reshape(-1, 8, 8, 1)

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(1, 4, (3, 3), strides=2, rngs=rngs)
            self.hidden = nnx.Linear(64, 16, rngs=rngs)
            self.out = nnx.Linear(16, 10, rngs=rngs)

        def __call__(self, x):
            x = nnx.relu(self.conv(x)).reshape(x.shape[0], -1)
            return self.out(nnx.relu(self.hidden(x)))

    rules = [("conv", cx.nn.Learning(insitu.PulsedSGD(insitu.Single(STEADY)))), ("out", None)]
    found = training.fit_in_situ(
        KEY, Net(nnx.Rngs(0)), (images[:600], y[:600]), insitu.MixedPrecision(insitu.Single(STEADY)), rules, rate=0.1,
        minibatch=4, batch=100, epochs=3, progress=False,
    )  # fmt: skip
    assert found.loss[-3:].mean() < 0.5 * found.loss[0]
    on = cx.nn.learning.learners(found.model)
    assert [name for name, _ in on] == ["conv", "hidden"]


def test_a_course_over_variants_is_one_vmap_and_equals_the_loop():
    x, y = small()
    net = cx.nn.models.MLP((64, 8, 10), rngs=nnx.Rngs(0))
    step = training.InSitu(0.05)

    def run(spread, key):
        device = pulsed.Pulsed(low=0.0, step=0.01, step_spread=spread)
        hardware = cx.nn.Learning(insitu.Significance(lower=insitu.Against(device), every=20))
        analog = cx.nn.to_analog(net, hardware, example=jax.ShapeDtypeStruct((1, 64), jnp.float32), report=None)
        chips, _ = cx.nn.program(key, analog, ranges="keep", report=None)
        model = cx.nn.read(key, chips)
        found = training.course(key, model, (x[:60], y[:60]), step, epochs=1, test=(x[600:800], y[600:800]))
        return found.test, cx.nn.learning.learners(found.model)[0][1].reading.get_value().w

    spreads, keys = jnp.array([0.0, 0.3]), jax.random.split(KEY, 2)
    together = jax.jit(jax.vmap(run))(spreads, keys)
    alone = jax.jit(run)(spreads[1], keys[1])
    np.testing.assert_allclose(together[1][1], alone[1], atol=1e-5)


@pytest.mark.parametrize("name", ["step", "asymmetry", "slope_up", "high"])
def test_gradients_of_a_final_loss_by_device_numbers_match_finite_differences(name):
    with jax.enable_x64(True):
        x = jax.random.normal(KEY, (100, 5))
        goal = 0.3 * jax.random.normal(jax.random.key(1), (5, 3))

        def loss(value):
            law = pulsed.LinearStep(0.3 if name != "slope_up" else value, 0.2)
            device = pulsed.Pulsed(law, step=0.01, step_spread=0.1)
            if name != "slope_up":
                device = replace(device, **{name: value})
            scheme = insitu.PulsedSGD(insitu.Single(device), insitu.Expected())
            state = scheme.start(KEY, jnp.zeros((5, 3)))

            def step(state, n):
                d = x[n] @ (goal - scheme.weights(state))
                return scheme.update(KEY, state, x[n][None], d[None], 0.05, n), None

            state = jax.lax.scan(step, state, jnp.arange(100))[0]
            return jnp.sum((scheme.weights(state) - goal) ** 2)

        begin = {"step": 0.01, "asymmetry": 0.2, "slope_up": 0.3, "high": 0.35}[name]
        loss, e = jax.jit(loss), 1e-6
        wanted = (loss(begin + e) - loss(begin - e)) / (2 * e)
        assert float(jax.grad(loss)(begin)) == pytest.approx(float(wanted), rel=1e-4, abs=1e-8)


def test_the_asymmetry_that_a_device_may_have_is_found_by_gradient_as_by_a_sweep():
    x = jax.random.normal(KEY, (100, 6))
    goal = 0.3 * jax.random.normal(jax.random.key(1), (6, 4))
    noise = 0.1 * jax.random.normal(jax.random.key(2), (100, 4))

    def loss(u):
        device = pulsed.Pulsed(pulsed.soft_bounds(), step=0.01, asymmetry=u)
        scheme = insitu.PulsedSGD(insitu.Single(device), insitu.Expected())

        def step(state, n):
            d = x[n] @ (goal - scheme.weights(state)) + noise[n]
            return scheme.update(KEY, state, x[n][None], d[None], 0.05, n), None

        state = jax.lax.scan(step, scheme.start(KEY, jnp.zeros((6, 4))), jnp.arange(100))[0]
        return jnp.mean((scheme.weights(state) - goal) ** 2)

    both, wanted, u = jax.jit(jax.value_and_grad(loss)), 2 * loss(0.0), 0.3
    for _ in range(8):
        value, slope = both(u)
        u = float(jnp.clip(u - (value - wanted) / slope, 0.0, 0.9))
    values = jnp.linspace(0.0, 0.9, 46)
    swept = float(jnp.interp(wanted, jax.vmap(loss)(values), values))
    assert 0.05 < swept < 0.85 and u == pytest.approx(swept, abs=0.01)


def test_layers_that_cannot_learn_by_pulses_are_refused():
    class Twice(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(4, 4, rngs=rngs)

        def __call__(self, x):
            return self.layer(nnx.relu(self.layer(x)))

    data = np.zeros((8, 4), np.float32), np.zeros(8, np.int32)
    with pytest.raises(ValueError, match="called 2 times"):
        training.fit_in_situ(KEY, Twice(nnx.Rngs(0)), data, insitu.PulsedSGD(), rate=0.1, progress=False)
    with pytest.raises(ValueError, match="no layer of this network learns"):
        training.fit(KEY, cx.nn.models.MLP((4, 2), rngs=nnx.Rngs(0)), data, step=training.InSitu(0.1), steps=1, batch=8)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: insitu.Significance(every=0), "every"),
        (lambda: insitu.Significance(factor=0.0), "factor"),
        (lambda: insitu.Significance(residue="keep"), "residue"),
        (lambda: insitu.Levels(0), "bits"),
        (lambda: insitu.Tuned(rounds=0), "rounds"),
        (lambda: insitu.MixedPrecision(epsilon=0.0), "epsilon"),
        (lambda: insitu.MixedPrecision(sent="always"), "sent"),
        (lambda: insitu.TikiTaka("v3"), "kind"),
        (lambda: insitu.Trains(longest=40), "longest"),
        (lambda: insitu.PulsedSGD(batch="mean"), "batch"),
        (lambda: insitu.PulsedSGD("single"), "synapse"),
    ],
)
def test_bad_schemes_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
