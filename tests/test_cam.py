"""Content-addressable memories: distances against a double loop, searches, spread, gradients, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

import crossjax as cx
from crossjax import cam
from crossjax.cam.cells import shares

KEY = jax.random.key(5)
CELLS = {
    "squared": cam.Squared(),
    "absolute": cam.Absolute(),
    "hamming": cam.Hamming(),
    "table": cam.Table((0.0, 0.7, 1.9, 2.0, 2.5, 2.6, 2.7, 3.5)),
    "fefet": cam.FeFET(),
}


def numbers(rows, cells, queries, levels=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, levels, (rows, cells)), rng.integers(0, levels, (queries, cells))


def law(cell, q, s):
    """What one cell answers, in plain Python."""
    if isinstance(cell, cam.FeFET):
        scale = 2 * cell.slope * 0.02585
        f = lambda u: np.log1p(np.exp(u / scale)) ** 2  # noqa: E731
        u, margin = (q - s) * cell.spacing, cell.spacing / 2
        return cell.current * (f(u - margin) + f(-u - margin))
    return {
        "Squared": lambda: (q - s) ** 2, "Absolute": lambda: abs(q - s), "Hamming": lambda: float(q != s),
        "Table": lambda: cell.values[abs(q - s)],
    }[type(cell).__name__]()  # fmt: skip


@pytest.mark.parametrize("cols", [4, 7, 64])
@pytest.mark.parametrize("name", CELLS)
def test_currents_are_those_of_a_double_loop(name, cols):
    cell, (stored, queries) = CELLS[name], numbers(5, 23, 140)  # more queries than one block
    memory = cam.CAM(3, cols, cell)
    chip, written = cam.write(KEY, memory, stored)
    found = cam.currents(KEY, memory, chip, queries)
    wanted = np.array([[sum(law(cell, q, s) for q, s in zip(a, b, strict=True)) for b in stored] for a in queries])
    assert int(written) == stored.size
    if name in ("squared", "absolute", "hamming"):
        assert (np.asarray(found) == wanted).all()
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    summed = cx.replace(memory, vote="sum")
    nearest = np.take_along_axis(wanted, np.asarray(cam.search(KEY, summed, chip, queries))[:, None], 1)[:, 0]
    np.testing.assert_allclose(nearest, wanted.min(axis=1), rtol=1e-5)


def test_the_majority_of_subarrays_decides():
    memory = cam.CAM(2, 3, cam.Absolute())
    stored = np.array([[0, 0, 0, 0, 0, 0, 3, 3, 3], [1, 1, 1, 1, 1, 1, 0, 0, 0]])  # row 0 is nearer in two of three
    query = np.zeros(9)
    chip, _ = cam.write(KEY, memory, stored)
    assert int(cam.search(KEY, memory, chip, query)) == 0
    assert int(cam.search(KEY, cx.replace(memory, vote="sum"), chip, query)) == 1


def test_what_is_within_the_sensing_limit_is_drawn_and_what_is_not_is_found():
    memory = cam.CAM(2, 4, cam.Absolute(), sensing_limit=1.0)
    stored = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [3, 3, 3, 3]])
    chip, _ = cam.write(KEY, memory, stored)
    found = cam.search(KEY, memory, chip, np.zeros((4000, 4)))
    share = np.bincount(np.asarray(found), minlength=3) / 4000
    np.testing.assert_allclose(share, [0.5, 0.5, 0.0], atol=0.04)  # 4 σ of 4000 draws: 0.032
    sharp = cx.replace(memory, sensing_limit=None)
    assert (np.asarray(cam.search(KEY, sharp, chip, np.zeros((50, 4)))) == 0).all()
    equal, _ = cam.write(KEY, sharp, np.zeros((3, 4)))  # a priority encoder takes the first
    assert (np.asarray(cam.search(KEY, sharp, equal, np.zeros((50, 4)))) == 0).all()


def test_a_transistor_has_its_subthreshold_slope_and_chips_their_memory():
    off = [float(cam.FeFET(slope=1.3, margin=m).law(jnp.zeros(()))) for m in (0.4, 0.4 + 1.3 * 0.0595)]
    assert off[0] / off[1] == pytest.approx(10.0, rel=0.01)  # both transistors off by a decade more
    chip, _ = cam.write(KEY, cam.CAM(3, cell=cam.FeFET()), np.full((2, 5), 7))
    for other in (cam.CAM(2), cam.CAM(3), cam.CAM(3, cell=cam.FeFET(spread=0.1))):
        with pytest.raises(ValueError, match="another memory"):
            cam.read(other, chip)
    many = jax.vmap(lambda k: cam.write(k, cam.CAM(3), np.full((2, 5), 7))[0])(jax.random.split(KEY, 3))
    with pytest.raises(ValueError, match="population"):
        cam.write(KEY, cam.CAM(3), np.full((2, 5), 7), chip=many)


@pytest.mark.parametrize("name", CELLS)
def test_exact_and_threshold_matches(name):
    memory = cam.CAM(3, 8, CELLS[name])
    stored, _ = numbers(6, 20, 1)
    off = np.clip(stored[2] + np.eye(1, 20, 3, dtype=int)[0], 0, 7)
    off[3] = stored[2, 3] + (1 if stored[2, 3] < 7 else -1)
    chip, _ = cam.write(KEY, memory, stored)
    hit = np.asarray(cam.matches(KEY, memory, chip, np.stack([stored[2], off])))
    assert hit.tolist() == [[k == 2 for k in range(6)], [False] * 6]
    short, _ = cam.write(KEY, memory, stored[:, :17])  # the last subarray has one cell
    last = np.clip(stored[2, :17] + (np.arange(17) == 16) * (1 if stored[2, 16] < 7 else -1), 0, 7)
    assert not bool(cam.matches(KEY, memory, short, last)[2]) and bool(
        cam.matches(KEY, memory, short, stored[2, :17])[2]
    )
    line = max(law(CELLS[name], q, s) for q, s in zip(off, stored[2], strict=True)) + 8 * law(CELLS[name], 0, 0)
    assert bool(cam.matches(KEY, memory, chip, off, limit=line + 1e-3)[2])


def test_spread_moves_currents_by_the_law_at_shifted_thresholds():
    cell = cam.FeFET(spread=0.05)
    drawn = cell.draw(KEY, (40_000,))
    np.testing.assert_allclose(drawn.std(axis=1), 0.05, rtol=0.02)
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.02
    alone = cam.FeFET().law(jnp.asarray(0.15), jnp.asarray([0.02, -0.01]))
    scale = 2 * 1.5 * 0.02585
    f = lambda u: np.log1p(np.exp(u / scale)) ** 2  # noqa: E731
    np.testing.assert_allclose(alone, cell.current * (f(0.15 - 0.075 - 0.02) + f(-0.15 - 0.075 + 0.01)), rtol=1e-5)


def test_only_cells_whose_level_changes_are_written_again():
    memory = cam.CAM(3, 4, cam.FeFET(spread=0.05))
    stored, _ = numbers(3, 10, 1)
    chip, _ = cam.write(KEY, memory, stored)
    changed = stored.copy()
    changed[1, 2] = 7 - changed[1, 2]
    again, written = cam.write(jax.random.key(9), memory, changed, chip=chip)
    moved = np.asarray(again.drawn != chip.drawn)
    assert int(written) == 1 and moved.sum() == 2 and moved[:, 1, 0, 2].all()
    same, none = cam.write(jax.random.key(9), memory, stored, chip=chip)
    assert int(none) == 0 and all(map(np.array_equal, jax.tree.leaves(same), jax.tree.leaves(chip)))


def test_chips_under_vmap_are_those_of_a_loop_and_jit_changes_nothing():
    memory = cam.CAM(2, 5, cam.FeFET(spread=0.1, spacing=0.4), noise=0.3)
    stored, queries = numbers(4, 12, 9, levels=4)

    def run(k):
        return cam.currents(k, memory, cam.write(k, memory, stored)[0], queries)

    keys = jax.random.split(KEY, 3)
    together = jax.vmap(run)(keys)
    for k, found in zip(keys, together, strict=True):
        np.testing.assert_allclose(run(k), found, rtol=1e-5)
        np.testing.assert_allclose(jax.jit(run)(k), found, rtol=1e-5)


@given(st.floats(0, 6.99), st.integers(2, 9))
@settings(max_examples=60)
def test_shares_of_levels_interpolate(x, levels):
    x = min(x, levels - 1.001)
    share = np.asarray(shares(jnp.asarray(x), levels))
    np.testing.assert_allclose(share.sum(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(share @ np.arange(levels), x, atol=1e-5)


def test_gradients_by_queries_are_the_slope_of_the_table(x64):
    memory = cam.CAM(3, 4, cam.Table((0.0, 1.0, 4.0, 9.0, 16.0, 25.0, 36.0, 49.0)), vote="sum")
    stored, queries = numbers(3, 6, 2)
    chip, _ = cam.write(KEY, memory, stored)
    weights = jnp.asarray([1.0, -0.5, 0.3])

    def by_query(q):
        return jnp.sum(cam.currents(KEY, memory, chip, q) * weights)

    inside = np.clip(queries, 1, 6).astype(float)
    wanted = np.einsum("r,brc->bc", weights, 2.0 * (inside[:, None] - stored[None]))  # of the square, at its levels
    at_zero = inside[:, None] == stored[None]
    wanted_ends = wanted[~at_zero.any(axis=1)]
    found = jax.jit(jax.grad(by_query))(jnp.asarray(inside))
    np.testing.assert_allclose(np.asarray(found)[~at_zero.any(axis=1)], wanted_ends, rtol=1e-9)


def test_gradients_by_the_hardware_and_by_what_is_stored(x64):
    stored, _ = numbers(3, 6, 1)
    drawn = cam.FeFET(spread=0.05).draw(KEY, stored.shape)

    def total(cell, levels=jnp.asarray(stored, float)):
        return jnp.sum(jnp.sin(cell.answers(levels, drawn, 8)))

    check_gradients(total, cam.FeFET(0.14, 0.05, 0.06), rtol=2e-5, atol=1e-6)
    cell = cam.FeFET()
    slope = jax.jacfwd(lambda s: cell.answers(s, None, 8))(jnp.asarray(3.0))
    np.testing.assert_allclose(
        slope, (cell.answers(jnp.asarray(4.0), None, 8) - cell.answers(jnp.asarray(2.0), None, 8)) / 2
    )
    end = jax.jacfwd(lambda s: cell.answers(s, None, 8))(jnp.asarray(7.0))
    np.testing.assert_allclose(end, cell.answers(jnp.asarray(7.0), None, 8) - cell.answers(jnp.asarray(6.0), None, 8))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: cam.CAM(4, cell=cam.FeFET()), "window must hold 16 levels"),
        (lambda: cam.CAM(3, cell=cam.Table((0.0, 1.0))), "2 distances"),
        (lambda: cam.CAM(0), "bits"),
        (lambda: cam.CAM(9), "at most 8"),
        (lambda: cam.CAM(vote="most"), "vote"),
        (lambda: cam.FeFET(spread=-0.1), "spread"),
        (lambda: cam.FeFET(spacing=0.0), "spacing"),
        (lambda: cam.write(KEY, cam.CAM(2), np.full((2, 3), 4)), "from 0 to 3"),
        (lambda: cam.write(KEY, cam.CAM(2), np.full((2, 3), 0.5)), "from 0 to 3"),
        (lambda: cam.write(KEY, cam.CAM(2), np.full((2, 3), np.nan)), "from 0 to 3"),
        (lambda: cam.write(KEY, cam.CAM(2), np.zeros((0, 3))), "at least 1 each"),
        (lambda: cam.write(KEY, cam.CAM(2), np.zeros(3)), "rows, cells"),
        (lambda: cam.write(KEY, cam.CAM(2), np.zeros((2, 3)), chip=cam.write(KEY, cam.CAM(2), np.ones((2, 4)))[0]),
         "do not fit a chip"),
        (lambda: cam.search(KEY, cam.CAM(2), cam.write(KEY, cam.CAM(2), np.zeros((2, 3)))[0], np.zeros((5, 4))),
         "3 cells of a row"),
        (lambda: cam.search(KEY, cam.CAM(2), cam.write(KEY, cam.CAM(2), np.zeros((2, 3)))[0], np.full((5, 3), 7)),
         "queries must be whole"),
        (lambda: cam.read(cam.CAM(2, 32), cam.write(KEY, cam.CAM(2), np.zeros((2, 3)))[0]), "64 columns, the memory"),
    ],
)  # fmt: skip
def test_bad_memories_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
