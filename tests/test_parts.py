"""Every part of the hardware under every transformation: a table that a new part joins by existing.

Parts are all spec classes of crossjax: as found inside the presets, else as made without arguments. What a part does as
a function of numbers (conductances, weights, signals) is said once for each kind; a class of no known kind fails.
"""

import dataclasses
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import crossjax as cx
from crossjax.circuits.converters import ColumnSpread
from crossjax.store import is_spec
from crossjax.tiles.injection import ideal_reading

KEY = jax.random.key(3)
X = np.asarray([[0.23, -0.61, 0.87], [0.52, 0.11, -0.33]])  # weights, signals; |X| for what is positive
STATE = {  # what parts leave behind, and stand-ins
    "ByPulses", "Chip", "Clock", "ColumnSpread", "Density", "DeviceState", "History", "Instrument", "OwnError",
    "Problem", "Reading",
    "Reference", "SimulatedCore", "Stuck", "Sums", "Window",
    "AgainstState", "LearningChip", "LearningReading", "LevelState", "MixedState", "PulsedState", "SignificanceState",
    "TikiTakaState", "CAMChip", "CAMReading", "Classifier",
}  # fmt: skip
LEARNING = {  # what sends whole pulses, and what is made of it: tests of its own (test_insitu)
    "Dithered", "Expected", "Implicit", "Learning", "Levels", "MeanCount", "MixedPrecision", "PulsedSGD", "Rounded",
    "Sides", "Significance", "TikiTaka", "Trains", "Tuned",
}  # fmt: skip


ELSEWHERE = {  # searches and spikes: tests of their own (test_cam, test_hdc, test_spiking)
    "CAM", "Cosine", "GSTNeuron", "InMemory", "IntegrateAndFire",
}  # fmt: skip


def classes():
    """All spec classes of crossjax."""
    found = {}
    for module in pkgutil.walk_packages(cx.__path__, "crossjax."):
        for thing in vars(importlib.import_module(module.name)).values():
            if isinstance(thing, type) and is_spec(thing) and thing.__module__.startswith("crossjax"):
                same = found.get(thing.__name__, thing) is thing
                found[thing.__name__ if same else f"{thing.__module__.split('.')[1]}.{thing.__name__}"] = thing
    return found


def inside(part):
    """A spec and all specs in it."""
    yield part
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        for child in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(child):
                yield from inside(child)


def parts():
    """One instance of every class."""
    presets = [cx.presets.get(n) for n in ("ideal", "pcm", "pcm_msp_lsp", "hermes", "standard")]
    devices = [f() for f in (cx.devices.reram_milo, cx.devices.reram_cmo, cx.devices.reram_wan, cx.devices.sonos,
                             cx.devices.pcm_pulsed, cx.devices.noisy)]  # fmt: skip
    known = {type(p): p for whole in (*presets, *devices) for p in inside(whole)}
    given = {  # smooth where the default rounds; small where it is large
        "ADC": cx.ADC(bits=None, range=4.0, gain=0.1),
        "CubicLaw": cx.wires.CubicLaw(2.0),
        "DAC": cx.DAC(bits=None),
        "Device": cx.devices.pcm(),
        "Faults": cx.Faults(low=0.3),
        "GDP": cx.GDP(iterations=2, batch=8),
        "JumpTable": cx.pulsed.JumpTable(*2 * [np.linspace([0.5, 1.0], [1.0, 3.0], 4).T], 0.1),
        "Mixed": cx.devices.Mixed((cx.devices.pcm(), cx.devices.noisy())),
        "Iterative": cx.Iterative(iterations=2, reads=1),
        "MeltQuench": cx.devices.MeltQuench(error=None),
        "Rewrite": cx.devices.Rewrite(error=None),
        "RowWise": cx.RowWise(rounds=2, reads=1),
        "SinhLaw": cx.wires.SinhLaw(4.0),
        "StaticDrop": cx.presets.standard(ir_drop=True).wires,
        "Stepped": cx.devices.Stepped(cx.devices.Rewrite(error=None), 5),
        "Strategy": cx.strategies.as_strategy(cx.Pairs((3.0, 1.0))),
        "LevelPosition": cx.hdc.LevelPosition(3, 8, levels=5, low=-1.0),
        "NGrams": cx.hdc.NGrams(3, 1, 8),
        "Projection": cx.hdc.Projection(3, 8),
        "Table": cx.cam.Table((0.0, 1.0, 3.0, 4.0, 5.0, 6.0, 6.5, 7.0)),
        "Tile": cx.replace(cx.presets.hermes(), adc=None, dac=None),
        "Wires": cx.Wires(20.0, 10.0, 5.0, 5.0),
    }
    made = {}
    for name, cls in classes().items():
        if name in STATE | LEARNING | ELSEWHERE:
            continue
        made[name] = given.get(name) or known.get(cls) or cls()
    return made


PARTS = parts()
METHODS = {name for name, part in PARTS.items() if hasattr(part, "run")}
SURROGATES = {"AbsMax", "Stepped", "SetPulses", "FeFET", "LevelPosition"} | {
    name for name, part in PARTS.items() if hasattr(part, "disturb")
}
"""Gradients that are stated ones, not those of steps, and of scales that count as constants."""


def apply(name, part, x):
    """What a part makes of numbers (2, 3): every kind once."""
    positive, device = jnp.abs(x), cx.Device(g_max=25.0)
    g = 25.0 * positive
    if hasattr(part, "answers"):  # a cell of a content-addressable memory
        drawn = part.draw(KEY, x.shape)
        return jnp.sum(part.signals(3.0 + 2.1 * x, 8) * part.answers(4.2 - x, drawn, 8), axis=0)
    if hasattr(part, "draw") and hasattr(part, "encode"):  # an encoder
        return part.encode(KEY, part.draw(KEY), x)
    if hasattr(part, "amorphous"):  # a film
        return part.transmission(part.front(700.0 + 900.0 * positive))
    if hasattr(part, "melted"):  # a pulse of light
        return part.written(20.0 + 80.0 * positive)
    if hasattr(part, "transmission"):
        return part.transmission(positive)
    if hasattr(part, "averaged"):  # noise of a line
        return part.averaged(2.0).variance(x, positive)
    if hasattr(part, "up"):  # the response of a pulsed device
        ends = part.draw(KEY, x.shape), -jnp.ones(x.shape), jnp.ones(x.shape)
        return part.up(KEY, 0.6 * x, *ends) + part.down(KEY, 0.6 * x, *ends)
    if hasattr(part, "put"):  # pulsed devices, and weights of them
        state = part.drive(part.put(KEY, part.draw(KEY, x.shape), 0.3 * x), 7.0 * x)
        return part.value(state)
    if hasattr(part, "typical"):  # drift
        return part.apply(g, part.draw(KEY, positive), part.logarithm(1e3), 25.0)
    if hasattr(part, "growth"):
        return part.q(positive) * part.growth(1e3)
    if hasattr(part, "respond"):
        cells = cx.replace(device, write=part, programming=cx.devices.ByPulses()).reset(KEY, x.shape)
        return cx.replace(device, write=part, programming=cx.devices.ByPulses()).pulse(KEY, cells, g)[0].g
    if hasattr(part, "device_yield"):
        faulty = cx.replace(device, faults=part)
        return faulty.program(KEY, faulty.reset(KEY, x.shape), g).g
    if isinstance(part, cx.Device | cx.devices.Mixed):  # the rows are the devices of a cell
        return part.at(KEY, part.program(KEY, part.reset(KEY, x.shape), g), 1e3)
    if hasattr(part, "shares") and not hasattr(part, "encode"):
        return cx.Pairs((4.0, 2.0), part).encode(x)
    if hasattr(part, "dimensions"):  # a space of strategies
        return cx.strategies.at_point(part, jnp.resize(positive, (part.dimensions,))).encode(x)
    if hasattr(part, "encode"):
        conductances = part.encode(x)
        return part.decode(part.correct(conductances, 0.1 * x))
    if isinstance(part, cx.ADC):
        return part.convert(part.distort(x, ColumnSpread()))
    if isinstance(part, cx.DAC):
        return part.convert(x)
    if hasattr(part, "per_vector"):  # a scaling of inputs
        return x / part.scale(x, 2.0)
    if hasattr(part, "share"):  # what is done about a saturated ADC
        return x / part.share(positive)
    if hasattr(part, "digital"):  # a subtraction
        return part.combine(cx.Pairs(), part.lines(cx.Pairs(), cx.Pairs().encode(x)))
    if hasattr(part, "effective"):
        return part.effective(g)
    if hasattr(part, "sums"):  # lines, in the tile that has them
        return cx.mvm(KEY, cx.Tile(2, 3, wires=part), ideal_reading(KEY, cx.Tile(2, 3), x), jnp.eye(2))
    if hasattr(part, "disturb"):
        reading = ideal_reading(KEY, cx.Tile(2, 3, device=cx.devices.pcm()), x, [part])
        return reading.w + (0.0 if reading.variance is None else reading.variance)
    if hasattr(part, "run"):
        tile = cx.Tile(2, 3, device=cx.devices.pcm(), compensation=None)
        return cx.weights_at(KEY, tile, cx.program(KEY, tile, x, part)[0])
    if isinstance(part, cx.Tile):
        tile = cx.replace(part, rows=2, cols=3)
        return cx.mvm(KEY, tile, cx.program(KEY, tile, x)[0], jnp.eye(2), 1e3)
    if hasattr(part, "deviation"):
        return positive + part.deviation(g, 25.0) * part.draw(KEY, x.shape)
    if hasattr(part, "at"):
        return part.at(g, 25.0)
    if callable(part):
        return part(positive)
    return pytest.fail(f"{name} is of no kind that this table knows: add its kind to apply")


def total(name):
    """A smooth scalar of what a part makes of numbers, as a function of them and of the part's own."""
    return lambda x, part: jnp.sum(jnp.sin(apply(name, part, x)))


@pytest.mark.parametrize("name", [n for n in PARTS if n not in METHODS])  # methods: their own tests, on chips
def test_a_part_under_every_transformation(name, x64):
    part, f = jax.tree.map(jnp.asarray, PARTS[name]), total(name)
    x, many = jnp.asarray(X), jnp.stack([jnp.asarray(X), 0.8 * jnp.asarray(X)])
    value = f(x, part)
    assert value.dtype == jnp.float64 and jnp.isfinite(value)
    compiled = jax.jit(jax.value_and_grad(f, argnums=(0, 1), allow_int=True))
    each = [compiled(a, part) for a in many]
    np.testing.assert_allclose(each[0][0], value, rtol=1e-6, err_msg="jit (noise is drawn in single precision)")
    numbers = [a for a in jax.tree.leaves(each) if np.issubdtype(a.dtype, np.floating)]
    assert all(np.isfinite(a).all() for a in numbers), "grad"

    along = jax.jit(lambda: lax.scan(lambda c, a: (c + f(a, part), None), 0.0, many)[0])()
    np.testing.assert_allclose(along, sum(v for v, _ in each), rtol=1e-6, err_msg="scan")
    wide = jax.jit(jax.vmap(jax.value_and_grad(f), in_axes=(0, None)))(many, part)
    np.testing.assert_allclose(wide[0], [v for v, _ in each], rtol=1e-6, err_msg="vmap")
    np.testing.assert_allclose(wide[1], [g[0] for _, g in each], rtol=1e-4, atol=1e-6, err_msg="vmap of grad")
    twice = jax.jit(jax.grad(lambda a: jnp.sum(jax.grad(f)(a, part) * X)))(x)
    assert np.isfinite(twice).all(), "second derivative"
    if name not in SURROGATES:
        direction, h = np.sign(X) * [[1.0, 0.5, -0.3]], 1e-6
        steps = [compiled(x + s * h * direction, part)[0] for s in (1, -1)]
        slope = float(jnp.sum(each[0][1][0] * direction))
        np.testing.assert_allclose(slope, (steps[0] - steps[1]) / (2 * h), rtol=2e-4, atol=1e-6, err_msg="float64")


def test_parts_in_single_precision_stay_there():
    for name, part in PARTS.items():
        x = jax.ShapeDtypeStruct(X.shape, jnp.float32)
        assert jax.eval_shape(lambda x, n=name, p=part: apply(n, p, x), x).dtype == jnp.float32, name
