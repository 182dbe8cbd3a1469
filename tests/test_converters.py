import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

import crossjax as cx
from crossjax import ADC, DAC, percentile_range
from crossjax.circuits import ColumnSpread


@pytest.mark.parametrize(
    "bits, levels, steps", [(8, None, 255), (1, None, 2), (None, None, None), (None, 420, 420), (3, None, 7)]
)
def test_level_counts(bits, levels, steps):
    assert DAC(bits=bits, levels=levels).steps == steps
    assert ADC(bits=bits, levels=levels).steps == steps


@pytest.mark.parametrize("converter", [ADC, DAC])
def test_a_converter_has_one_resolution(converter):
    assert (converter().bits, converter().steps) == (8, 255)
    assert (converter(bits=None).steps, converter(levels=420).steps, converter(levels=420).bits) == (None, 420, None)
    assert converter() == converter(bits=8) and type(converter().bits) is int
    name = converter.__name__
    with pytest.raises(ValueError, match=f"{name}.bits \\(6\\) and {name}.levels \\(420\\).*bits=None.*levels=None"):
        converter(bits=6, levels=420)
    with pytest.raises(ValueError, match="bits=None"):
        cx.replace(converter(), levels=420)
    assert cx.replace(converter(levels=420), levels=None, bits=3).steps == 7


def test_bits_of_a_preset_that_states_levels_are_refused():
    with pytest.raises(ValueError, match="levels=None to keep the bits"):
        cx.replace(cx.presets.hermes(), **{"adc.bits": 3})


@pytest.mark.parametrize("levels, even, has_zero, step", [
    (7, "mid-rise", True, 1 / 3), (8, "mid-rise", False, 2 / 7), (8, "mid-tread", True, 1 / 4),
    (None, "mid-rise", True, 0),
])  # fmt: skip
def test_step_and_zero_say_what_convert_does(levels, even, has_zero, step):
    dac = DAC(bits=None, levels=levels, even=even)
    adc = ADC(bits=None, levels=levels, even=even, range=1.0)
    assert dac.has_zero == has_zero == (float(dac.convert(jnp.zeros(()))) == 0.0)
    assert adc.step == pytest.approx(step)
    if levels:
        found = np.unique(np.asarray(adc.convert(jnp.linspace(-1.2, 1.2, 999))).round(6))
        assert len(found) == levels
        np.testing.assert_allclose(np.diff(found), step, rtol=1e-4)


def test_every_conversion_has_a_second_derivative_and_the_gradient_of_the_inside_at_full_scale():
    sliced = DAC(bits=6, slice_bits=2)
    weights = jnp.asarray(sliced.slice_weights)
    conversions = [
        DAC(bits=8).convert, DAC(bits=1).convert, DAC(levels=16, even="mid-tread").convert, ADC(range=1.0).convert,
        ADC(levels=420, range=1.0).convert, lambda u: jnp.dot(weights, sliced.slices(u)),
    ]  # fmt: skip
    for convert in conversions:
        square = lambda u, f=convert: f(u) ** 2  # noqa: E731
        assert float(jax.grad(jax.grad(square))(0.3)) == pytest.approx(2.0, abs=1e-5)
        assert float(jax.hessian(square)(1.7)) == 0.0
        np.testing.assert_allclose(jax.vmap(jax.grad(convert))(jnp.array([-1.0, 1.0])), 1.0, rtol=1e-6)


@given(st.integers(2, 9), st.integers(1, 9))
@settings(max_examples=40)
def test_slices_add_up_to_the_rounded_input(bits, slice_bits):
    dac = DAC(bits=bits, slice_bits=slice_bits)
    u = jnp.linspace(-1.2, 1.2, 301)
    slices = dac.slices(u)
    assert float(jnp.abs(slices).max()) <= 1 + 1e-6
    total = jnp.tensordot(jnp.asarray(dac.slice_weights), slices, axes=1)
    np.testing.assert_allclose(total, dac.convert(u), atol=1e-6)


def test_bit_serial_sends_one_bit_a_slice():
    dac = DAC(bits=8, slice_bits=1)
    slices = dac.slices(jnp.linspace(-1, 1, 99))
    assert slices.shape == (7, 99)
    assert set(np.unique(np.asarray(slices).round(6))) <= {-1.0, 0.0, 1.0}


def test_sliced_inputs_have_the_straight_through_gradient():
    dac = DAC(bits=6, slice_bits=2)
    w = jnp.asarray(dac.slice_weights)
    g = jax.vmap(jax.grad(lambda u: jnp.dot(w, dac.slices(u))))(jnp.array([-1.5, -0.4, 0.3, 0.99]))
    np.testing.assert_allclose(g, [0, 1, 1, 1], atol=1e-6)


def test_absmax_scaling_uses_every_vectors_own_range():
    dac = DAC(scaling="absmax")
    x = jnp.array([[0.5, -2.0], [0.0, 0.0]])
    np.testing.assert_array_equal(dac.input_scale(x)[:, 0], [2.0, 1.0])


def test_columns_are_drawn_once_per_column_and_differ():
    adc = ADC(gain=0.03, offset=0.01, inl=0.005)
    columns = adc.draw(jax.random.key(0), (20_000,))
    for field, sigma, centre in (("gain", 0.03, 1), ("offset", 0.01, 0), ("bow", 0.005, 0), ("twist", 0.005, 0)):
        draw = np.asarray(getattr(columns, field))
        assert abs(draw.mean() - centre) < 5 * sigma / 20_000**0.5
        np.testing.assert_allclose(draw.std(), sigma, rtol=0.03)
    assert len(np.unique(np.asarray(columns.gain))) > 19_000
    assert ADC().draw(jax.random.key(0), (3,)) == ColumnSpread()


def test_distortion_is_gain_offset_and_a_bent_curve(x64):
    adc = ADC(range=2.0, inl=0.1)
    y = jnp.linspace(-2, 2, 401)[:, None]
    straight = adc.distort(y, ColumnSpread(gain=jnp.array([1.1]), offset=jnp.array([0.05])))
    np.testing.assert_allclose(straight, 1.1 * y + 0.1, rtol=1e-12)
    twisted = adc.distort(y, ColumnSpread(bow=jnp.zeros(1), twist=jnp.array([0.1])))
    np.testing.assert_allclose(float(jnp.abs(twisted - y).max()), 0.1 * 2.0, rtol=1e-4)
    bowed = adc.distort(y, ColumnSpread(bow=jnp.array([0.1]), twist=jnp.zeros(1)))
    np.testing.assert_allclose(float((bowed - y)[200, 0]), 0.2, rtol=1e-9)


def test_saturation_halves_until_it_fits():
    adc = ADC(range=1.0, on_saturation="halve")
    y = jnp.array([[0.5, -0.9], [1.1, 0.0], [-3.9, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(adc.share(y)[:, 0], [1, 2, 4, 1])


def test_percentile_range():
    x = jnp.concatenate([jnp.linspace(-1, 1, 10_001), jnp.array([1000.0])])
    assert float(percentile_range(x, 99.9)) < 1.01
    assert float(percentile_range(x, 100.0)) == 1000.0
    assert float(percentile_range(jnp.zeros(5))) == 1.0
    with pytest.raises(ValueError, match="percentile"):
        percentile_range(x, 0.0)


def test_gradients_of_gain_offset_range_and_curve(x64):
    adc = ADC(bits=None, range=2.0, gain=0.1, offset=0.1, inl=0.1)
    columns = adc.draw(jax.random.key(1), (5,))
    y = jnp.linspace(-1.7, 1.6, 10).reshape(2, 5)

    def loss(args):
        adc, columns, y = args
        return jnp.sum(jnp.sin(adc.convert(adc.distort(y, columns))))

    check_gradients(lambda a: loss((adc, *a)), (columns, y))
    g = jax.grad(lambda r: loss((ADC(bits=None, range=r), columns, y)))(2.0)
    h = 1e-6
    both = [loss((ADC(bits=None, range=2.0 + s * h), columns, y)) for s in (1, -1)]
    np.testing.assert_allclose(float(g), float(both[0] - both[1]) / 2 / h, rtol=1e-6)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ADC(bits=0), "ADC.bits must be a whole number ≥ 1"),
        (lambda: ADC(levels=1), "ADC.levels"),
        (lambda: DAC(bits=2.5), "DAC.bits"),
        (lambda: ADC(range=0.0), "ADC.range must be > 0"),
        (lambda: ADC(gain=-0.1), "ADC.gain"),
        (lambda: ADC(on_saturation="wrap"), "'clip', 'halve'"),
        (lambda: DAC(scaling="max"), "'fixed', 'absmax'"),
        (lambda: DAC(bits=None, slice_bits=1), "resolution"),
        (lambda: ADC(levels=420, even="tread"), "'mid-rise', 'mid-tread'"),
    ],
)
def test_bad_converters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
