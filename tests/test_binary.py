"""Binary networks and stochastic memories: exact products, errors against their closed forms, folding, comparators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from flax import nnx

import crossjax as cx
from crossjax import nn
from crossjax.nn import binary
from crossjax.tiles import Complementary, with_thresholds

pytestmark = pytest.mark.slow

KEY = jax.random.key(4)


def signs(*shape, seed=0):
    return np.random.default_rng(seed).choice([-1.0, 1.0], shape).astype(np.float32)


def array(rows=128, **more):
    return cx.Tile(rows, 128, cell=Complementary(**more), dac=cx.DAC(bits=1), compensation=None)


@pytest.mark.parametrize("rows, cols", [(1, 1), (128, 128), (300, 150)])
def test_popcounts_on_tiles_are_the_product_exactly(rows, cols):
    w, x = signs(rows, cols), signs(5, rows, seed=1)
    chip, _ = cx.program(KEY, array(), w)
    np.testing.assert_array_equal(cx.mvm(KEY, array(), chip, x), x @ w)


def test_read_errors_have_the_mean_and_variance_of_their_closed_form():
    n, p = 1152, 0.02
    w, x = np.ones((n, 1), np.float32), signs(1, n)
    s = float(x.sum())
    tile = array(512, read_errors=p)
    chip, _ = cx.program(KEY, tile, w)
    found = np.asarray(jax.vmap(lambda k: cx.mvm(k, tile, chip, x)[0, 0])(jax.random.split(KEY, 20_000)))
    variance = 4 * n * p * (1 - p)
    assert found.mean() == pytest.approx((1 - 2 * p) * s, abs=4 * (variance / 20_000) ** 0.5)
    assert found.var() == pytest.approx(variance, rel=0.04)
    flips = np.random.default_rng(0).random((2000, n)) < p  # product by product
    one_by_one = (np.where(flips, -1.0, 1.0) * x).sum(axis=1)
    assert one_by_one.var() == pytest.approx(found.var(), rel=0.15)


def test_write_errors_are_drawn_once_and_differ_from_chip_to_chip():
    w, tile = signs(200, 100), array(write_errors=0.05)
    first, again, other = (
        np.asarray(cx.weights_at(KEY, tile, cx.program(k, tile, w)[0])) for k in (KEY, KEY, jax.random.key(9))
    )
    assert (first == again).all() and (first != other).any() and set(np.unique(first)) == {-1.0, 1.0}
    assert (first != w).mean() == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / w.size) ** 0.5)


def test_every_write_can_go_wrong_but_those_of_the_exact_method():
    w, tile = signs(60, 40), array(write_errors=0.1)
    wrong = lambda chip: float(np.mean(np.asarray(cx.weights_at(KEY, tile, chip)) != w))  # noqa: E731
    blank = cx.build(KEY, tile, w.shape)
    assert wrong(cx.write(KEY, tile, blank, w)[0]) == pytest.approx(0.1, abs=0.03)
    assert wrong(cx.program(KEY, tile, w, cx.programming.OpenLoop())[0]) == pytest.approx(0.1, abs=0.03)
    assert wrong(cx.program(KEY, tile, w, cx.Exact())[0]) == 0.0


def test_gradients_by_error_rates(x64):
    w, x = signs(30, 4), signs(6, 30, seed=1)

    def total(p):
        tile = array(read_errors=p)
        return jnp.sum(jnp.sin(cx.mvm(KEY, tile, cx.program(KEY, tile, w)[0], x)))

    check_gradients(total, 0.03, rtol=1e-4)
    assert np.isfinite(jax.grad(total)(0.0))
    x = Complementary().encode(jnp.asarray(w))
    slip = lambda p: Complementary().decode(Complementary(write_errors=p).slip(KEY, x, jnp.ones(x.shape, bool)))  # noqa: E731
    np.testing.assert_allclose(jax.grad(lambda p: jnp.sum(slip(p)))(0.1), -2.0 * w.sum(), rtol=1e-6)  # of (1 − 2 p) w


def test_devices_that_leak_cancel_in_a_pair_of_opposites():
    w, x = signs(40, 20), signs(3, 40, seed=2)
    tile = cx.replace(array(), device=cx.Device(g_max=25.0, g_min=10.0))  # on/off 2.5, as of magnetic junctions
    np.testing.assert_allclose(cx.mvm(KEY, tile, cx.program(KEY, tile, w)[0], x), x @ w, atol=1e-4)


def test_thresholds_of_comparators_share_their_rows():
    w, x = signs(100, 7), signs(50, 100, seed=3)
    theta = np.linspace(-10, 10, 7).astype(np.float32) + 0.5
    for rows in (128, 40):
        tile = cx.replace(array(rows), adc=binary.COMPARATOR)
        chip, _ = cx.program(KEY, tile, w)
        reading = with_thresholds(tile, cx.read(KEY, tile, chip), jnp.asarray(theta))
        r = tile.grid((100, 7)).r
        parts = [slice(k, min(k + r, 100)) for k in range(0, 100, r)]
        share = [(p.stop - p.start) / 100 for p in parts]
        wanted = sum(np.where(x[:, p] @ w[p] >= theta * f, 1.0, -1.0) for p, f in zip(parts, share, strict=True))
        np.testing.assert_array_equal(cx.mvm(KEY, tile, reading, x), wanted)


@pytest.fixture(scope="module")
def network():
    """A binary perceptron whose batch norms have seen something, one of them with scales of every sign."""
    net = binary.BinaryMLP((30, 64, 48, 5), rngs=nnx.Rngs(0))
    net.train()
    for k in range(5):
        net(jax.random.uniform(jax.random.key(k), (64, 30), minval=-1.0))
    net.blocks[0].norm.scale.set_value(jnp.linspace(-1.0, 1.0, 64).at[10].set(0.0))
    net.blocks[0].norm.bias.set_value(jnp.linspace(-0.3, 0.4, 64))
    net.eval()
    return net


def test_folding_batch_norms_into_thresholds_changes_nothing(network):
    x = jax.random.uniform(KEY, (40, 30), minval=-1.0)
    np.testing.assert_array_equal(binary.fold(network)(x), network(x))
    rules = [(r"blocks\.0\.layer", cx.replace(array(), dac=None)), ("last", array())]
    compare = nn.to_analog(network, cx.replace(array(), adc=binary.COMPARATOR), rules, report=None, example=x)
    now = nn.read(KEY, nn.program(KEY, compare, ranges="keep", report=None)[0])
    np.testing.assert_array_equal(binary.fold(now)(x), network(x))
    with pytest.raises(ValueError, match="read first"):
        binary.fold(compare)


def test_a_chip_holds_the_signs_of_latent_weights_and_training_reaches_them(network):
    x = jax.random.uniform(KEY, (40, 30), minval=-1.0)
    analog = nn.to_analog(network, cx.replace(array(), dac=None), report=None)
    chip, _ = nn.program(KEY, analog, ranges="keep", report=None)
    held = chip.blocks[1].layer.product.chip.get_value().cells.target
    assert set(np.unique(held / 25.0)) == {0.0, 1.0}
    graph, params, rest = nnx.split(network, nnx.Param, ...)
    gradient = jax.grad(lambda p: jnp.sum(nnx.merge(graph, p, rest, copy=True)(x) ** 2))(params)
    assert all(np.abs(np.asarray(g)).max() > 0 for g in jax.tree.leaves(gradient))


def test_a_binary_convolution_is_that_of_signs_and_pads_with_nothing():
    block = binary.BinaryBlock(binary.BinaryConv(5, 6, rngs=nnx.Rngs(0)), 6, pool=True, rngs=nnx.Rngs(0))
    block.eval()
    x = jnp.asarray(signs(2, 8, 8, 5))
    analog = nn.to_analog(block, array(), report=None)
    now = nn.read(KEY, nn.program(KEY, analog, ranges="keep", report=None)[0])
    np.testing.assert_array_equal(now.layer(x), block.layer(x))  # a DAC of one bit has no 0: the padding is not driven
    np.testing.assert_array_equal(now(x), block(x))
    np.testing.assert_array_equal(binary.fold(now)(x), block(x))


def test_operations_of_the_vgg_are_counted():
    counted = binary.products(binary.BinaryVGG(rngs=nnx.Rngs(0)), jnp.zeros((1, 32, 32, 3)))
    assert counted["weights"] == 14_022_016 and counted["products"] == pytest.approx(617.0e6, rel=1e-4)


def test_latent_weights_stay_bounded():
    update = cx.training.bound_weights(1.0)
    params = {"kernel": jnp.array([[0.9, -0.9]]), "bias": jnp.array([0.9])}
    moved, _ = update.update(jax.tree.map(lambda a: 0.3 * jnp.sign(a), params), update.init(params), params)
    np.testing.assert_allclose(moved["kernel"], [[0.1, -0.1]], atol=1e-7)
    np.testing.assert_allclose(moved["bias"], [0.3])


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Complementary(write_errors=1.5), "write_errors"),
        (lambda: Complementary(read_errors=-0.1), "read_errors"),
        (lambda: cx.replace(array(), subtract="digital"), "read as one line"),
        (lambda: with_thresholds(array(), cx.read(KEY, array(), cx.build(KEY, array(), (3, 2))), np.zeros(2)), "ADC"),
        (lambda: binary.fold(nn.models.MLP((3, 2), rngs=nnx.Rngs(0))), "none"),
        (lambda: cx.training.bound_weights(0.0), "limit"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
