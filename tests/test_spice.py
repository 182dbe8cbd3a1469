"""Netlists for SPICE: the network that is solved here, solved by somebody else."""

import re
import shutil
import subprocess

import numpy as np
import pytest

import crossjax as cx
from crossjax.interop import spice


@pytest.mark.parametrize("drive,sense,r", [("left", "bottom", 3.0), ("both", "top", 3.0), ("right", "both", 3.0),
                                           ("both", "both", 0.0)])  # fmt: skip
def test_a_netlist_is_the_network_that_is_solved(drive, sense, r, x64):
    rng = np.random.default_rng(0)
    g, v = rng.uniform(1.0, 30.0, (4, 3)), rng.uniform(-0.2, 0.2, 4)
    kwargs = {"r_driver": 50.0 if r else 0.0, "r_sense": 0.0, "drive": drive, "sense": sense}
    text = spice.netlist(g, v, r, r, **kwargs)
    found = currents(text)
    wanted = cx.wires.solve(g, v, r, r, **kwargs).currents
    np.testing.assert_allclose(1e6 * found, wanted, rtol=1e-6)
    if shutil.which("ngspice"):
        done = subprocess.run(["ngspice", "-b"], input=text, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        printed = {k: float(x) for k, x in re.findall(r"i\(v([st]_\d)\) = (\S+)", done.stdout)}
        sums = [sum(x for k, x in printed.items() if k.endswith(f"_{j}")) for j in range(3)]
        np.testing.assert_allclose(1e6 * np.array(sums), wanted, rtol=1e-4)


def currents(text):
    """Bit-line currents of a netlist of resistors and voltage sources, in A, by modified nodal analysis of its own."""
    parts = [line.split() for line in text.splitlines() if re.match("[RV]", line)]
    nodes = {n: k for k, n in enumerate(dict.fromkeys(n for p in parts for n in p[1:3] if n != "0"))}
    sources = [p for p in parts if p[0].startswith("V")]
    size = len(nodes) + len(sources)
    a, b = np.zeros((size, size)), np.zeros(size)
    for name, first, second, value in parts:
        ends = [(nodes[n], s) for n, s in ((first, 1.0), (second, -1.0)) if n != "0"]
        if name.startswith("R"):
            for i, s in ends:
                for j, t in ends:
                    a[i, j] += s * t / float(value)
        else:
            k = len(nodes) + next(n for n, p in enumerate(sources) if p[0] == name)
            b[k] = float(value)
            for i, s in ends:
                a[i, k] += s
                a[k, i] += s
    solved = np.linalg.solve(a, b)
    by_column = {}
    for k, (name, *_) in enumerate(sources):
        if re.match(r"V[st]_\d", name):
            column = int(name.split("_")[1])
            by_column[column] = by_column.get(column, 0.0) + solved[len(nodes) + k]
    return np.array([by_column[j] for j in sorted(by_column)])


def test_a_netlist_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="finite"):
        spice.netlist(np.ones((2, 2)), np.ones(2), np.inf, 1.0)
    with pytest.raises(ValueError, match="negative"):
        spice.netlist(-np.ones((2, 2)), np.ones(2), 1.0, 1.0)
    with pytest.raises(ValueError, match="shapes"):
        spice.netlist(np.ones((2, 2)), np.ones(3), 1.0, 1.0)
    with pytest.raises(ValueError, match="did you mean 'left'"):
        spice.netlist(np.ones((2, 2)), np.ones(2), 1.0, 1.0, drive="lft")
