import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crossjax import Pairs, SharedReference, bit_slices

CELLS = {
    "one pair": Pairs(),
    "msp/lsp, lsp first": Pairs((2.0, 1.0)),
    "msp/lsp, msp first": Pairs((3.0, 1.0), "msp_first"),
    "msp/lsp, equal": Pairs((1.0, 1.0), "equal"),
    "msp/lsp, one": Pairs((2.0, 1.0), "one"),
    "msp/lsp, residual": Pairs((2.0, 1.0), "residual"),
    "four pairs": Pairs((8.0, 4.0, 2.0, 1.0)),
    "slices of 2 bits": bit_slices(2, 4),
    "slices of 1 bit": bit_slices(1, 3),
    "shared reference": SharedReference(),
}
WEIGHTS = hnp.arrays(np.float32, (5, 3), elements=st.floats(-1, 1, width=32))


@pytest.mark.parametrize("name", CELLS)
@given(w=WEIGHTS)
@settings(max_examples=30)
def test_decode_inverts_encode_within_the_devices_range(name, w):
    cell = CELLS[name]
    x = cell.encode(jnp.asarray(w))
    assert x.shape == (cell.devices, 5, 3 + cell.extra_columns)
    assert float(x.min()) >= -1e-4 and float(x.max()) <= 1 + 1e-4  # what a digit may be over: the tile rounds it
    np.testing.assert_allclose(cell.decode(x), w, atol=2e-6)
    np.testing.assert_allclose(cell.decode(x + 0.1), w, atol=2e-6)  # g_min is not seen


@pytest.mark.parametrize("name", CELLS)
def test_full_weights_use_the_full_range(name):
    cell = CELLS[name]
    g = cell.encode(jnp.array([[1.0, -1.0]]))
    used = g[:2] if "one" in name.split(", ")[-1] else g
    np.testing.assert_allclose(float(used.max()), 1.0, rtol=1e-6)
    np.testing.assert_allclose(cell.decode(g), [[1.0, -1.0]], atol=1e-6)


def test_lsp_first_leaves_the_msp_alone_while_the_lsp_can_hold_the_weight():
    cell = Pairs((2.0, 1.0), "lsp_first")
    small, large = cell.encode(jnp.array([[0.3]])), cell.encode(jnp.array([[0.5]]))
    assert float(small[0, 0, 0]) == 0.0 and float(small[2, 0, 0]) == pytest.approx(0.9)
    assert float(large[0, 0, 0]) == pytest.approx(0.25) and float(large[2, 0, 0]) == 1.0


@pytest.mark.parametrize("bits, slices", [(1, 4), (2, 3), (3, 2)])
def test_integer_weights_use_exactly_the_levels_of_a_slice(bits, slices):
    cell = bit_slices(bits, slices)
    top = 2 ** (bits * slices) - 1
    w = jnp.arange(-top, top + 1)[None] / top
    share = np.asarray(cell.encode(w)) * (2**bits - 1)
    np.testing.assert_allclose(share, share.round(), atol=2e-3)


@pytest.mark.parametrize("name", [n for n in CELLS if n != "slices of 1 bit"])
def test_corrections_add_to_the_weight_until_the_range_ends(name):
    cell = CELLS[name]
    w = jnp.array([[-0.5, 0.0, 0.2], [0.4, -0.1, 0.3]])
    change = jnp.array([[0.1, -0.05, 0.0], [-0.5, 0.3, 0.02]])
    g = cell.encode(w)
    after = cell.correct(g, change)
    np.testing.assert_allclose(cell.decode(after), w + change, atol=1e-5)
    assert bool(jnp.all(after[:, 0, 2] == g[:, 0, 2])), "a cell whose change is 0 must not be touched"
    full = cell.correct(g, jnp.full_like(w, 5.0))
    np.testing.assert_allclose(cell.decode(full), 1.0, atol=1e-5)


@pytest.mark.parametrize("name", CELLS)
def test_lines_combine_to_the_same_product(name):
    cell = CELLS[name]
    w = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (6, 4)), jnp.float32)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(3, 6)), jnp.float32)
    g = cell.encode(w)
    y = jnp.einsum("br,drc->dbc", x, cell.lines(g))
    np.testing.assert_allclose(cell.combine(y), x @ w, atol=2e-5)


@pytest.mark.parametrize("name", CELLS)
def test_variance_is_that_of_independent_devices(name):
    cell = CELLS[name]
    g = cell.encode(jnp.full((1, 20_000), 0.5))
    noise = jax.random.normal(jax.random.key(0), g.shape)
    spread = cell.decode(g + noise) - cell.decode(g)
    wanted = float(cell.variance(jnp.ones_like(g))[0, 0])
    common = 2.0 if name == "shared reference" else 1.0  # the reference's half is common to the row
    np.testing.assert_allclose(float(jnp.var(spread)) * common, wanted, rtol=0.05)


@pytest.mark.parametrize("name", CELLS)
def test_gradients(x64, name):
    cell = CELLS[name]
    w = jnp.array([[-0.53, 0.17, 0.0901], [0.43, -0.11, 0.37]])
    check_gradients(lambda w: jnp.sum(jnp.sin(cell.encode(w))), w, rtol=1e-5, atol=1e-7)
    check_gradients(lambda g: jnp.sum(jnp.sin(cell.decode(g))), cell.encode(w))
    zero = jax.grad(lambda w: jnp.sum(cell.decode(cell.encode(w))))(jnp.zeros((2, 2)))
    assert bool(jnp.isfinite(zero).all())


def test_significance_can_be_swept_and_differentiated():
    w = jnp.array([[0.8]])
    sweep = jax.vmap(lambda f: Pairs((f, 1.0)).encode(w))(jnp.array([1.0, 2.0, 3.0]))
    assert sweep.shape == (3, 4, 1, 1)
    assert jnp.isfinite(jax.grad(lambda f: jnp.sum(Pairs((f, 1.0)).encode(w)))(2.0))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Pairs(()), "Pairs.factors must be one or more numbers"),
        (lambda: Pairs((1.0, 2.0)), "most significant"),
        (lambda: Pairs((1.0, -1.0)), "must be > 0"),
        (lambda: Pairs(split="random"), "'lsp_first'"),
        (lambda: bit_slices(0, 2), "at least 1 bit"),
    ],
)
def test_bad_cells_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
