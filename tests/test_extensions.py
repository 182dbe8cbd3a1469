"""Everything that is made of parts takes one of your own, made of public names only: a few lines each."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import crossjax as cx
from crossjax import circuits, devices, programming, tiles

KEY = jax.random.key(0)
W = jax.random.normal(jax.random.key(1), (12, 6)) / 3
X = jax.random.normal(jax.random.key(2), (32, 12)) / 3


def test_a_spec_of_your_own_checks_itself():
    @cx.spec
    class Part:
        gain: float = 1.0
        modes: tuple[str, ...] = cx.static(default=("a",))

        def __post_init__(self):
            cx.check_range(self, "gain", low=0)
            if self.modes == ():
                object.__setattr__(self, "modes", ["none"])

    @cx.spec
    class More(Part):
        order: int = cx.static(default=1)

        def __post_init__(self):
            super().__post_init__()
            cx.check_count(self, "order")

    @cx.spec
    class Heir(Part):
        rest: float = 0.0

    assert Part(modes=()).modes == ("none",) and Heir(2).gain == 2.0
    assert jax.tree.leaves(More(2, order=3)) == [2.0] and jax.tree.leaves(Heir(rest=3)) == [1.0, 3.0]
    for make in (Part, More, Heir):
        with pytest.raises(ValueError, match=rf"{make.__name__}\.gain must be ≥ 0"):
            make(gain=-1.0)
    with pytest.raises(ValueError, match=r"More\.order"):
        More(order=0)


# ------------------------------------------------------------------------------------------------ devices


@cx.spec
class Collapse:
    """A device law: what is above a level g_c loses a share of the rest for every second, one device more than another.

    Drift, in the sense of `devices.Drift`.
    """

    rate: float
    g_c: float = 5.0

    def __post_init__(self):
        cx.check_range(self, "rate", low=0)

    def draw(self, key, x):
        return self.rate * (1.0 + 0.1 * cx.keys.normal(key, x.shape))

    def typical(self, x):
        return jnp.full_like(x, self.rate)

    def logarithm(self, t):
        return jnp.asarray(t)

    def apply(self, g, drawn, logarithm, g_max):
        return jnp.where(g > self.g_c, self.g_c + (g - self.g_c) * jnp.exp(-drawn * logarithm), g)


def test_a_device_law():
    tile = cx.Tile(16, 16, cx.Device(drift=Collapse(1e-3)), compensation=None)
    chip, _ = cx.program(KEY, tile, W, cx.Exact())
    held = [jnp.abs(cx.weights_at(KEY, tile, chip, t=t)).max() for t in (0.0, 1e3, 1e6)]
    top = jnp.abs(W).max()
    assert jnp.allclose(held[0], top) and held[1] < 0.7 * top and jnp.allclose(held[2], 0.2 * top, rtol=1e-4)

    def error(rate):
        drifting = cx.replace(tile, **{"device.drift.rate": rate})
        return cx.mvm_error(KEY, drifting, cx.program(KEY, drifting, W, cx.Exact())[0], W, X, t=300.0)

    assert jax.grad(error)(1e-3) > 0


@cx.spec
class Bounded:
    """A write law and its controller: identical pulses up or down, each a step that shrinks towards its bound."""

    step: float = 0.05
    noise: float = 0.0

    def start(self, key, shape, g_min, g_max):
        return jnp.full(shape, g_min), None, None

    def respond(self, key, memory, g, stimulus, g_min, g_max):
        room = jnp.where(stimulus > 0, g_max - g, g - g_min)
        moved = self.step * stimulus * room * (1.0 + self.noise * cx.keys.normal(key, g.shape))
        return jnp.clip(g + moved, g_min, g_max), memory

    def plan(self, target, known, goal, g_min, g_max):
        sign = jnp.sign(goal - target)  # one pulse in the wanted direction, and its mean outcome believed
        believed, _ = cx.replace(self, noise=0.0).respond(KEY, None, target, sign, g_min, g_max)
        return devices.Plan(sign, jnp.abs(sign).astype(jnp.int32), believed, known)

    def deviation(self, g, g_max):
        return self.step * self.noise * (g_max - g)


def test_a_write_law():
    tile = cx.Tile(16, 16, cx.Device(write=Bounded(), programming=devices.ByPulses()), compensation=None)
    chip, pulses = cx.build(KEY, tile, (12, 6)), 0
    for n in range(3):
        chip, sent = cx.write(cx.keys.numbered(KEY, n), tile, chip, jnp.full((12, 6), 0.01))
        pulses += int(sent)
    assert pulses == 3 * 72
    assert jnp.allclose(cx.weights_at(KEY, tile, chip), 1 - 0.95**3, atol=1e-6)


# -------------------------------------------------------------------------------------- cells and circuits


@cx.spec
class Offset(tiles.BaseCell):
    """A cell of one device and no reference: w = 2 x − 1, half the span being what the digital side knows exactly."""

    @property
    def devices(self):
        return 1

    @property
    def extra_columns(self):
        return 0

    def encode(self, w):
        return (0.5 + w / 2)[None]

    def decode(self, x):
        return self.combine(self.lines(x))

    def correct(self, target, change):
        return jnp.clip(target + change[None] / 2, 0.0, 1.0)

    def lines(self, x):
        return 2 * x - 1

    def combine(self, y):
        return y[0]

    def variance(self, variance):
        return 4 * variance[0]


def test_a_cell():
    tile = cx.Tile(16, 16, cell=Offset())
    chip, _ = cx.program(KEY, tile, W)
    assert cx.mvm_error(KEY, tile, chip, W, X) < 1e-5
    chip, _ = cx.write(KEY, tile, chip, -0.01 * jnp.sign(W), where=jnp.arange(6) < 3)
    wanted = jnp.where(jnp.arange(6) < 3, W - 0.01 * jnp.sign(W), W)
    assert jnp.allclose(cx.weights_at(KEY, tile, chip), wanted, atol=1e-5)


@cx.spec
class Columns(circuits.ColumnSpread):
    """What the columns of a `DeadZone` ADC turned out to be besides."""

    dead: jax.Array | None = None


@cx.spec
class DeadZone(cx.ADC):
    """A converter effect, drawn per column: an ADC that reads 0 below a threshold of its own."""

    zone: float = 0.0

    def __post_init__(self):
        cx.check_range(self, "zone", low=0)

    def draw(self, key, shape):
        plain = super().draw(key, shape)
        dead = self.zone * cx.keys.uniform(cx.keys.named(key, "zone"), shape)
        return Columns(plain.gain, plain.offset, plain.bow, plain.twist, dead)

    def distort(self, y, columns):
        y = super().distort(y, columns)
        dead = columns.dead if isinstance(columns, Columns) else 0.0  # perfect columns, while training
        return jnp.where(jnp.abs(y) < dead, 0.0, y)


def test_a_converter_effect():
    tile = cx.Tile(16, 16, adc=DeadZone(bits=10, range=2.0, zone=0.5), compensation=None)
    chip, _ = cx.program(KEY, tile, W, cx.Exact())
    small = 0.1 * X
    y, full = cx.mvm(KEY, tile, chip, small), cx.mvm(KEY, tile, chip, 10 * X)
    assert jnp.mean(y == 0) > 0.8 and jnp.mean(full == 0) < 0.2
    with pytest.raises(ValueError, match="ADC DeadZone, the tile ADC ADC"):
        cx.mvm(KEY, cx.replace(tile, adc=cx.ADC()), chip, X)
    _, history = cx.program(KEY, tile, W, cx.GDP(iterations=3, batch=16))
    assert jnp.isfinite(history.mvm_error).all()


# --------------------------------------------------------------------------------------- programming methods


@cx.spec
class Halving:
    """A programming method: read every cell, correct half of what is missing, a fixed number of times."""

    iterations: int = cx.static(default=5)

    def run(self, key, core, weights, input_limit):
        def step(core, state, key, k):
            read = core.verify(cx.keys.named(key, "read"), weights.shape[0], 1, 1.0, "mvm")
            core, pulses = core.pulse(cx.keys.named(key, "pulse"), 0.5 * (weights - read))
            errors = programming.probe(key, core, weights, input_limit)
            spent = programming.Spent(pulses, weights.shape[0], weights.size)
            return core, state, programming.measure(core, errors, weights, spent, jnp.zeros_like(weights))

        core, _, sums = core.repeat(step, None, key, self.iterations)
        return core, sums


def test_a_programming_method():
    tile = cx.Tile(16, 16, compensation=None)
    chip, history = cx.program(KEY, tile, W, Halving())
    assert jnp.allclose(history.mvm_error, 0.5 ** jnp.arange(1, 6), rtol=0.02)
    assert cx.mvm_error(KEY, tile, chip, W, X) == pytest.approx(1 / 32, rel=0.1)


# -------------------------------------------------------------------------------------------------- networks


class Gate(nnx.Module):
    """A layer type that Flax has not: one matrix, and its output gates its input."""

    def __init__(self, size, *, rngs):
        self.table = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), (size, size)))
        self.product = jnp.matmul

    def __call__(self, x):
        return x * nnx.sigmoid(self.product(x, self.table[...]))


def test_a_layer_type():
    model = nnx.Sequential(Gate(12, rngs=nnx.Rngs(0)), nnx.Linear(12, 6, rngs=nnx.Rngs(1)))
    with pytest.raises(ValueError, match=r"holds layers\.0\.table itself"):
        cx.nn.to_analog(model, cx.Tile(), report=None)
    cx.nn.register(Gate, "product", kernel="table")
    analog = cx.nn.to_analog(model, cx.Tile(16, 16, compensation=None), report=None, example=X)
    assert [row["calls"] for row in cx.nn.account(analog)] == [1, 1]
    assert jnp.allclose(analog(X), model(X), atol=1e-5)
    chip, histories = cx.nn.program(KEY, cx.nn.to_analog(model, cx.presets.pcm(), report=None), report=None)
    now = cx.nn.read(KEY, chip, t=86_400.0)
    assert set(histories) == {"layers.0", "layers.1"}
    assert 0.01 < jnp.linalg.norm(now(X) - model(X)) / jnp.linalg.norm(model(X)) < 0.5
    with pytest.raises(ValueError, match="registered with product, which it does not have"):
        bare = Gate(3, rngs=nnx.Rngs(0))
        del bare.product
        cx.nn.to_analog(bare, cx.Tile(), report=None)
    with pytest.raises(TypeError, match=r"takes a type of nnx\.Module"):
        cx.nn.register(model, "product")


@cx.spec
class Photonic(cx.nn.Hardware):
    """Hardware that is no tile: a mesh of interferometers whose attenuators have few bits and whose lamp fades."""

    bits: int = cx.static(default=6)
    noise: float = 0.01
    fading: float = 1e-3

    def ideal_reading(self, key, weights, injections):
        return weights

    def program(self, key, weights, method):
        top, steps = jnp.abs(weights).max(), 2**self.bits - 1
        return jnp.round(weights / top * steps) / steps * top, None

    def read(self, key, chip, t, compensate):
        return chip * jnp.exp(-self.fading * t)

    def multiply(self, key, reading, x):
        y = x @ reading
        return y + self.noise * cx.keys.normal(key, y.shape)


def test_hardware_that_is_no_tile():
    model = nnx.Sequential(
        nnx.Conv(1, 4, (2, 2), feature_group_count=1, rngs=nnx.Rngs(0)), nnx.Conv(4, 4, (2, 2), feature_group_count=2,
        rngs=nnx.Rngs(1)), lambda x: x.reshape(x.shape[0], -1), nnx.Linear(16, 3, rngs=nnx.Rngs(2)),
    )  # fmt: skip
    x = jax.random.normal(KEY, (8, 2, 2, 1))
    analog = cx.nn.to_analog(model, Photonic(), [(r"layers\.3", cx.presets.pcm())], report=None)
    assert {r["tiles"] for r in cx.nn.account(analog)} == {1, 2}
    tuned = cx.nn.calibrate(analog, x)
    tuned.eval()
    chip, _ = cx.nn.program(KEY, tuned, report=None)
    error = [jnp.linalg.norm(cx.nn.read(KEY, chip, t)(x) - model(x)) / jnp.linalg.norm(model(x)) for t in (0.0, 1e3)]
    assert 0.005 < error[0] < 0.3 < error[1]
    found = cx.nn.evaluate(KEY, tuned, lambda net: jnp.mean((net(x) - model(x)) ** 2), chips=2, times=[0.0, 1e3])
    assert found.shape == (2, 2) and (found[:, 1] > 2 * found[:, 0]).all()
    with pytest.raises(ValueError, match="Photonic has no straight-through gradient"):
        nnx.grad(lambda net: jnp.sum(net(x)))(cx.nn.read(KEY, chip, straight_through=True))
    with pytest.raises(ValueError, match="would be 0"):
        nnx.grad(lambda net: jnp.sum(net(x)))(cx.nn.read(KEY, chip))

    @cx.spec
    class Unfinished(cx.nn.Hardware):
        bits: int = cx.static(default=6)

    with pytest.raises(TypeError, match="abstract"):
        Unfinished()
    with pytest.raises(TypeError, match=r"tile must be a Tile, other hardware \(a crossjax.spec\) or None"):
        cx.nn.to_analog(model, Photonic, report=None)


# ------------------------------------------------------------------------------------------ in-situ learning


def test_an_in_situ_learning_rule():
    """Pulsed stochastic gradient descent on one tile, for three devices at once: it learns a linear map."""
    wanted = jnp.clip(W, -0.9, 0.9)

    def learn(key, tile):
        def step(chip, k):
            x = cx.keys.uniform(cx.keys.named(k, "x"), (8, 12), -1.0, 1.0)
            error = cx.mvm(cx.keys.named(k, "mvm"), tile, chip, x) - x @ wanted
            chip, pulses = cx.write(cx.keys.named(k, "write"), tile, chip, -0.2 * x.T @ error / 8)
            return chip, (jnp.sum(error**2) / jnp.sum((x @ wanted) ** 2), pulses)

        chip = cx.build(cx.keys.named(key, "build"), tile, wanted.shape)
        return jax.lax.scan(step, chip, cx.keys.split(key, 150))

    noisy = cx.Tile(16, 16, cx.devices.noisy(sigma=0.2), noise=0.01, compensation=None)
    variants = jax.vmap(lambda s: cx.replace(noisy, **{"device.write.noise": s}))(jnp.array([0.0, 0.2, 0.5]))
    chips, (loss, pulses) = jax.jit(jax.vmap(learn, (None, 0)))(KEY, variants)
    last = loss[:, -20:].mean(axis=1)
    assert chips.cells.g.shape[0] == 3 and (pulses > 0).all()
    assert (loss[:, 0] > 0.8).all() and (last < 0.15).all() and last[0] < last[1] < last[2]
