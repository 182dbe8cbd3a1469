"""A crossbar with its wires as a SPICE netlist: what users rerun, they trust.

    text = cx.interop.spice.netlist(g, v, r_word=2.0, r_bit=2.0)
    Path("crossbar.cir").write_text(text)            # ngspice -b crossbar.cir

The network is the one of `crossjax.wires`: node ``w_i_j`` of word line i and ``b_i_j`` of bit line j at device (i, j).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crossjax._checks import as_array
from crossjax._kinds import door
from crossjax.circuits.lines import Lines
from crossjax.circuits.wires import Wires

OPEN = 1e12  # Ω, of what conducts nothing: SPICE wants every node tied
SHORT = 1e-6  # Ω, of what has no resistance: loops of sources of 0 V have no solution


@door
def netlist(
    g: np.ndarray, v: np.ndarray, r_word: float | Wires, r_bit: float | None = None, *, r_driver: float | None = None,
    r_sense: float | None = None, drive: str = "left", sense: str = "bottom", title: str = "crossbar",
) -> str:  # fmt: skip
    """The netlist of a crossbar of linear devices, with an operating point that prints the bit-line currents.

    Currents flow into the sense sources ``Vs_j`` (and ``Vt_j`` at the top), as `crossjax.wires.solve` counts them: in A
    here.

    Args:
        g: conductances (M, N) = (word lines, bit lines), µS.
        v: voltages of the word lines, (M,), V.
        r_word: the `Wires` of a tile, alone, or resistance of one word-line segment, Ω.
        r_bit: of one bit-line segment, Ω.
        r_driver, r_sense: between driver and first device, last device and ground, Ω; None: one segment.
        drive: "left", "right" or "both" ends of the word lines.
        sense: "bottom", "top" or "both" ends of the bit lines.
        title: first line of the netlist.

    Raises:
        ValueError: for arrays of other shapes, negative or non-finite numbers, or an unknown end.
    """
    g, v = as_array("g", g).astype(float), as_array("v", v).astype(float)
    if g.ndim != 2 or v.shape != g.shape[:1]:
        raise ValueError(f"g must be (word lines, bit lines) and v (word lines,), got shapes {g.shape} and {v.shape}")
    lines = Lines.given(r_word, r_bit, r_driver=r_driver, r_sense=r_sense, drive=drive, sense=sense)
    first = lines.r_word if lines.r_driver is None else lines.r_driver
    last = lines.r_bit if lines.r_sense is None else lines.r_sense
    lines = lines._replace(r_driver=first, r_sense=last)
    numbers = np.array(lines.resistances, float)
    if not (np.isfinite(g).all() and np.isfinite(v).all() and np.isfinite(numbers).all()):
        raise ValueError("a netlist holds finite numbers only: broken lines are left out of g, or have no netlist")
    if g.min(initial=0.0) < 0 or numbers.min() < 0:
        raise ValueError("conductances and resistances must not be negative")
    return "\n".join([f"* {' '.join(title.split())}", *_elements(g, v, lines), ""])


def _elements(g: np.ndarray, v: np.ndarray, lines: Lines) -> Iterator[str]:
    rows, cols = g.shape
    r_word, r_bit, first, last = (float(r) for r in np.asarray(lines.resistances, float))
    yield f"* {rows} word lines, {cols} bit lines; {r_word:g} and {r_bit:g} ohm a segment"
    for i in range(rows):
        for end, at, side in (("left", 0, "l"), ("right", cols - 1, "r")):
            if lines.drive in (end, "both"):
                yield f"V{side}_{i} d{side}_{i} 0 {v[i]:.12g}"
                yield _resistor(f"D{side}_{i}", f"d{side}_{i}", f"w_{i}_{at}", first)
        for j in range(1, cols):
            yield _resistor(f"W_{i}_{j}", f"w_{i}_{j - 1}", f"w_{i}_{j}", r_word)
    for j in range(cols):
        for i in range(rows):
            resistance = 1e6 / g[i, j] if g[i, j] > 0 else OPEN
            yield f"R{i}_{j} w_{i}_{j} b_{i}_{j} {resistance:.12g}"
        for i in range(1, rows):
            yield _resistor(f"B_{i}_{j}", f"b_{i - 1}_{j}", f"b_{i}_{j}", r_bit)
        for end, at, side in (("bottom", rows - 1, "s"), ("top", 0, "t")):
            if lines.sense in (end, "both"):
                yield _resistor(f"S{side}_{j}", f"b_{at}_{j}", f"g{side}_{j}", last)
                yield f"V{side}_{j} g{side}_{j} 0 0"
    sides = [side for end, side in (("bottom", "s"), ("top", "t")) if lines.sense in (end, "both")]
    yield ".control"
    yield "op"
    yield "print " + " ".join(f"i(V{side}_{j})" for j in range(cols) for side in sides)
    yield "quit 0"
    yield ".endc"
    yield ".end"


def _resistor(name: str, a: str, b: str, ohm: float) -> str:
    return f"R{name} {a} {b} {ohm or SHORT:.12g}"


__all__ = ["netlist"]
