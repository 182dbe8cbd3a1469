"""Hyperdimensional computing: levels, encoders, retraining, and classifiers of the digits of the package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients

import crossjax as cx
from crossjax import cam, hdc

pytestmark = pytest.mark.slow

KEY = jax.random.key(2)


@pytest.fixture(scope="module")
def digits():
    """Digits as hypervectors of 1,000 components, with labels, to train and to test."""
    x, y = cx.images.digits()
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[449:], order[:449]
    encoder = hdc.Projection(64, 1000)
    book = encoder.draw(KEY)
    h = encoder.encode(KEY, book, x - x[train].mean(axis=0))
    return (h[train], y[train]), (h[test], y[test])


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_levels_are_equally_populated_and_stand_for_their_means(bits):
    g = jax.random.normal(KEY, (200_000,))
    level = np.asarray(hdc.quantise(g, bits))
    np.testing.assert_allclose(np.bincount(level.astype(int)) / g.size, 2.0**-bits, rtol=0.02)
    means = [float(g[level == k].mean()) for k in range(2**bits)]
    np.testing.assert_allclose(means, hdc.centres(bits), atol=0.01)


def test_the_gradient_of_a_level_is_that_of_the_gaussian(x64):
    h = jnp.linspace(-2.0, 2.0, 7)
    found = jax.grad(lambda a: jnp.sum(hdc.quantise(a, 3)))(h)
    np.testing.assert_allclose(found, 8.0 * np.exp(-0.5 * h**2) / np.sqrt(2 * np.pi), rtol=1e-9)


def test_a_hypervector_without_variation_becomes_nothing_and_gives_no_nan():
    flat = jnp.stack([jnp.full(1000, v) for v in (3.0, 0.1, 0.7, 1e-20)])
    assert (np.asarray(hdc.standardise(flat)) == 0).all()
    assert np.isfinite(jax.grad(lambda a: jnp.sum(jnp.sin(hdc.standardise(a))))(flat)).all()


def test_a_projection_on_a_crossbar_is_the_projection():
    x = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
    exact = hdc.Projection(40, 300)
    wanted = exact.encode(KEY, exact.draw(KEY), x)
    ideal = hdc.Projection(40, 300, cx.Tile(32, 32))
    np.testing.assert_allclose(ideal.encode(KEY, ideal.draw(KEY), x), wanted, atol=2e-4)
    real = hdc.Projection(40, 300, cx.Tile(32, 32, device=cx.devices.fefet(spread=0.03)))
    found = real.encode(KEY, real.draw(KEY), x)
    error = float(jnp.linalg.norm(found - wanted) / jnp.linalg.norm(wanted))
    assert error == pytest.approx(0.03 / 0.6, rel=0.1)  # σ of a conductance, relative


def test_data_of_any_kind_count_the_same(digits):
    (h, y), _ = digits
    whole = np.rint(np.asarray(h[:300])).astype(np.int32)
    runs = [jax.jit(lambda a: hdc.retrain(KEY, a, jnp.asarray(y[:300]), hdc.Cosine(), classes=10, epochs=3).accuracy)(a)
            for a in (whole, whole.astype(np.float32))]  # fmt: skip
    np.testing.assert_array_equal(*runs)
    np.testing.assert_array_equal(hdc.quantise(jnp.array([0, 1, -1]), 2), [2, 3, 0])


def test_values_that_are_near_have_near_vectors_and_records_are_sums_of_bound_pairs():
    encoder = hdc.LevelPosition(features=1, dimensions=2000, levels=11)
    book = encoder.draw(KEY)
    h = np.asarray(encoder.encode(KEY, book, jnp.linspace(0.0, 1.0, 11)[:, None]))
    likeness = h @ h[0] / 2000
    np.testing.assert_allclose(likeness, 1.0 - 0.1 * np.arange(11), atol=1e-6)  # half flipped at the end

    many = hdc.LevelPosition(features=5, dimensions=301, levels=7, low=-1.0, high=2.0)
    book = np.asarray(many.draw(KEY))
    x = np.random.default_rng(1).uniform(-1, 2, (4, 5))
    value = np.rint((x + 1) / 3 * 6)
    half, flips = 150, many.flips
    chain = np.ones((7, 301))
    for v in range(7):
        chain[v, :half] = np.where(v >= flips, -1.0, 1.0)
    wanted = sum(book[f] * chain[value[:, f].astype(int)] for f in range(5))
    np.testing.assert_allclose(many.encode(KEY, book, x), wanted, atol=1e-4)


def test_texts_by_histogram_are_the_sum_over_their_trigrams():
    encoder = hdc.NGrams(symbols=5, n=3, dimensions=64)
    book = np.asarray(encoder.draw(KEY))
    text = np.random.default_rng(0).integers(0, 5, 40)
    symbols = np.asarray(hdc.NGrams(symbols=5, n=1, dimensions=64).draw(KEY))
    vector = lambda a, b, c: np.roll(symbols[a], 2) * np.roll(symbols[b], 1) * symbols[c]  # noqa: E731
    wanted = sum(vector(*text[k : k + 3]).astype(int) for k in range(38))
    np.testing.assert_array_equal(encoder.encode(KEY, book, encoder.histogram(text)), wanted)
    assert encoder.histogram(text[:2]).sum() == 0


def test_retraining_is_the_rule_of_quanthd(digits):
    (h, y), _ = digits
    search = hdc.InMemory(cam.CAM(2, vote="sum"))
    found = hdc.retrain(KEY, h, y, search, classes=10, epochs=3, rate=0.05)
    s = np.asarray(hdc.standardise(h))
    vectors = np.stack([s[y == c].mean(axis=0) for c in range(10)])
    edges = hdc.thresholds(2)
    levels = lambda a: np.searchsorted(edges, (a - a.mean(-1, keepdims=True)) / a.std(-1, keepdims=True), "right")  # noqa: E731
    for k in range(3):
        rate = 0.05 * (1 - k / 3)
        guess = ((levels(s)[:, None] - levels(vectors)[None]) ** 2).sum(-1).argmin(axis=1)
        assert float(found.accuracy[k]) == pytest.approx((guess == y).mean(), abs=2e-3)
        for c in range(10):
            vectors[c] += rate * (s[(y == c) & (guess != y)].sum(axis=0) - s[(guess == c) & (guess != y)].sum(axis=0))
    np.testing.assert_allclose(found.vectors, vectors, atol=0.12)  # a component at an edge may go either way


@pytest.mark.parametrize("search", [hdc.Cosine(), hdc.InMemory(cam.CAM(1)), hdc.InMemory(cam.CAM(3, cell=cam.FeFET()))])
def test_digits_are_recognised_and_retraining_helps(digits, search):
    (h, y), (h_test, y_test) = digits
    plain, trained = (hdc.retrain(KEY, h, y, search, classes=10, epochs=e) for e in (0, 20))
    before, after = (float(np.mean(c.classify(KEY, h_test) == y_test)) for c in (plain, trained))
    assert 0.84 < before < 0.93 and after > 0.92 and after > before
    assert trained.accuracy.shape == (21,) and int(trained.written) > trained.vectors.size // 2


def test_retraining_on_the_chip_takes_back_what_spread_costs(digits):
    (h, y), (h_test, y_test) = digits
    h, h_test = h[:, :256], h_test[:, :256]
    blind, aware = hdc.InMemory(cam.CAM(3, cell=cam.FeFET())), hdc.InMemory(cam.CAM(3, cell=cam.FeFET(spread=0.3)))

    def accuracies(k):
        first = hdc.retrain(k, h, y, blind, classes=10)
        without, _ = aware.store(k, first.vectors, None)
        on_chip = hdc.retrain(k, h, y, aware, classes=10)
        found = first.classify(k, h_test), aware.classify(k, without, h_test), on_chip.classify(k, h_test)
        return jnp.stack([jnp.mean(f == y_test) for f in found])

    perfect, lost, found = np.asarray(jax.lax.map(accuracies, jax.random.split(KEY, 4))).mean(axis=0)
    assert perfect - lost > 0.02 and found - lost > 0.25 * (perfect - lost)


def test_gradients_go_through_levels_and_search(digits):
    (h, y), (h_test, y_test) = digits
    search = hdc.InMemory(cam.CAM(2, cell=cam.FeFET(spacing=0.4, spread=0.05)))
    found = hdc.descend(KEY, h, y, search, classes=10, epochs=3)
    assert float(np.mean(found.classify(KEY, h_test) == y_test)) > 0.93
    assert np.isfinite(found.vectors).all()


def test_gradients_of_the_soft_search_by_the_hardware(digits, x64):
    h = jnp.asarray(digits[0][0][:12, :60], float)
    vectors = hdc.bundle(h, np.arange(12) % 4, 4)

    def loss(cell):
        search = hdc.InMemory(cam.CAM(2, cell=cell))
        held, _ = search.store(KEY, vectors, None)
        return jnp.sum(jnp.sin(search.logits(KEY, held, h)))

    def total(cell):  # the scale of the logits is a constant to gradients: take it out
        search = hdc.InMemory(cam.CAM(2, cell=cell))
        held, _ = search.store(KEY, vectors, None)
        return jnp.sum(jnp.sin(cam.currents(KEY, search.memory, held, search.levels(h)) / 50.0))

    check_gradients(total, cam.FeFET(0.35, 0.04, 0.15), rtol=1e-4)
    assert all(np.isfinite(g) for g in jax.tree.leaves(jax.grad(loss)(cam.FeFET(0.35, 0.04, 0.15))))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: hdc.Projection(10, 0), "dimensions"),
        (lambda: hdc.Projection(0, 10), "features"),
        (lambda: hdc.LevelPosition(3, levels=1), "levels"),
        (lambda: hdc.LevelPosition(3, 100, levels=60), "at least 118 dimensions"),
        (lambda: hdc.bundle(np.array([[1.0, np.nan], [0.0, 1.0]]), np.array([0, 1]), 2), "finite"),
        (lambda: hdc.Projection(2, 10).encode(KEY, jnp.ones((2, 10)), np.array([np.inf, 0.0])), "finite"),
        (lambda: hdc.LevelPosition(3, low=1.0, high=1.0), "below"),
        (lambda: hdc.NGrams(27, 6), "take fewer"),
        (lambda: hdc.NGrams(5, 2).histogram(np.array([5])), "from 0 to 4"),
        (lambda: hdc.Projection(3, 10).encode(KEY, jnp.ones((3, 10)), np.ones((2, 4))), "3 features"),
        (lambda: hdc.quantise(jnp.ones(3), 0), "bits"),
        (lambda: hdc.bundle(np.ones((2, 3)), np.array([0, 2]), 2), "from 0 to 1"),
        (lambda: hdc.bundle(np.ones((2, 3)), np.array([0, 0]), 2), "no example"),
        (lambda: hdc.bundle(np.ones((2, 3)), np.array([0, 0]), 0), "classes"),
        (lambda: hdc.bundle(np.ones((2, 3)), np.array([0.0, 1.0]), 2), "whole-number labels"),
        (lambda: hdc.retrain(KEY, np.ones((2, 3)), np.array([0, 1, 1]), hdc.Cosine(), classes=2), "labels"),
        (lambda: hdc.retrain(KEY, np.ones((2, 3)), np.array([0, 1]), hdc.Cosine(), classes=2, epochs=-1), "epochs"),
        (lambda: hdc.descend(KEY, np.ones((2, 3)), np.array([0, 1]), hdc.Cosine(), classes=2, batch=3), "batch"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
