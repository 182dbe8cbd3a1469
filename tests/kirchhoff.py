"""Wires solved again, by dense equations written to be obvious, for the tests of wires."""

import jax.numpy as jnp
import numpy as np

from crossjax.circuits.lines import DRIVES, SENSES

ENDS = [(d, s) for d in DRIVES for s in SENSES]


def close(ours, wanted, tolerance):
    assert np.abs(np.asarray(ours) - wanted).max() <= tolerance * np.abs(wanted).max()


def random_array(m, n, seed=0, low=1.0, high=25.0):
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, (m, n)))


def nodal(g, v, r_word, r_bit, r_driver, r_sense, drive="left", sense="bottom", law=None):
    """Kirchhoff's equations of every node, solved densely, for devices I = g f(v). Written to be obvious.

    Resistances in the array's own geography: r_word[i, j] between columns j − 1 and j, r_bit[i, j] between rows i and
    i + 1; infinite ones are left out. Returns currents (vectors, N) in µA, word and bit voltages, power in µW.
    """
    g = np.asarray(g, np.float64)
    (m, n), v = g.shape, np.asarray(v, np.float64)
    r_word, r_bit = (np.broadcast_to(r, (m, n)) for r in (r_word, r_bit))
    r_driver, r_sense = np.broadcast_to(r_driver, m), np.broadcast_to(r_sense, n)
    lines, source = np.zeros((2 * m * n, 2 * m * n)), np.zeros((2 * m * n, len(v)))
    word, bit = np.arange(m * n).reshape(m, n), m * n + np.arange(m * n).reshape(m, n)

    def connect(matrix, a, b, conductance):
        for p, q in ((a, b), (b, a)):
            matrix[p, p] += conductance
            matrix[p, q] -= conductance

    for i in range(m):
        for j in range(n):
            if j:
                connect(lines, word[i, j - 1], word[i, j], 1e6 / r_word[i, j])
            if i:
                connect(lines, bit[i - 1, j], bit[i, j], 1e6 / r_bit[i - 1, j])
    for end in [0] * (drive != "right") + [n - 1] * (drive != "left"):
        for i in range(m):
            lines[word[i, end], word[i, end]] += 1e6 / r_driver[i]
            source[word[i, end]] += 1e6 * v[:, i] / r_driver[i]
    for end in [m - 1] * (sense != "top") + [0] * (sense != "bottom"):
        for j in range(n):
            lines[bit[end, j], bit[end, j]] += 1e6 / r_sense[j]

    def solve_linear(matrix, right):  # least squares: islands float
        return np.linalg.lstsq(matrix, right, rcond=1e-15)[0]

    f, slope = law or (lambda x: x, lambda x: np.ones_like(x))
    voltage = np.zeros((2 * m * n, len(v)))
    for k in range(len(v)):
        u = voltage[:, k]

        def miss(u, k=k):
            current = g * f(u[word] - u[bit])
            left = lines @ u - source[:, k]
            left[word] += current
            left[bit] -= current
            return left

        for _ in range(500):
            matrix, local = lines.copy(), g * slope(u[word] - u[bit])
            for i in range(m):
                for j in range(n):
                    connect(matrix, word[i, j], bit[i, j], local[i, j])
            step, t = solve_linear(matrix, -miss(u)), 1.0
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # downhill in a convex potential: its slope along the step
                while not miss(u + t * step) @ step <= 1e-9 * abs(miss(u) @ step):
                    t *= 0.7
            u = u + t * step
            if np.abs(t * step).max() < 1e-15 * np.abs(v).max() or law is None:
                break
        voltage[:, k] = u
    word, bit = (np.moveaxis(voltage[at], -1, 0) for at in (word, bit))
    current = g * f(word - bit)
    return current.sum(1), word, bit, np.sum(v * current.sum(2), axis=1)


def resistances(kind, m, n, seed=0):
    """r_word, r_bit, r_driver and r_sense: numbers, one per line, or one per segment."""
    rng = np.random.default_rng(seed)
    if kind == "number":
        return 100.0, 150.0, 300.0, 200.0
    word, bit = {"line": ((m,), (n,)), "column": ((1, n), (m, 1)), "segment": ((m, n), (m, n))}[kind]
    return tuple(rng.uniform(50, 500, s) for s in (word, bit, (m,), (n,)))


def full(r, m, n):
    """The same, one per segment."""
    word, bit, driver, sense = (np.asarray(a) for a in r)
    return (word[:, None] if word.ndim == 1 else word), bit, driver, sense


def terminals(r, drive, sense):
    return {"r_driver": r[2], "r_sense": r[3], "drive": drive, "sense": sense}


def agree(found, wanted, tolerance=1e-9):
    for ours, theirs in zip((found.currents, found.word, found.bit, found.power), wanted, strict=True):
        close(ours, theirs, tolerance)
