"""`crossjax bench --peers`, with packages that stand in for the peers and for torch."""

import json
import sys

import pytest
from rich.console import Console

from crossjax.benchmarks import core as bench

NAMES = ("aihwkit", "aihwkit_lightning", "torch")
TORCH = """
import contextlib, numpy, types
no_grad, set_num_threads = contextlib.nullcontext, lambda n: None
randn = lambda *shape: numpy.random.default_rng(0).normal(size=[min(n, 64) for n in shape])
class Linear:
    def __init__(self, rows, cols, bias): self.weight = randn(cols, rows)
    def __call__(self, x): return x @ self.weight.T
nn = types.SimpleNamespace(Linear=Linear, init=types.SimpleNamespace(normal_=lambda weight, std: None))
"""
LIGHTNING = """
class AnalogLinear:
    def __init__(self, digital): self.digital = digital
    from_digital = classmethod(lambda cls, digital, config: cls(digital))
    def train(self): return self
    def __call__(self, x): return self.digital(x)
"""
CONFIG = """
from unittest.mock import MagicMock as TorchInferenceRPUConfig
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put packages on the path: a file's text by its dotted name."""

    def forget():
        for name in [n for n in sys.modules if n.split(".")[0] in NAMES]:
            monkeypatch.delitem(sys.modules, name)

    def write(**packages):
        for name, text in packages.items():
            folder = tmp_path.joinpath("site", *name.split("__"))
            folder.mkdir(parents=True)
            (folder / "__init__.py").write_text(text)

    forget()
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    row = bench.Row("work", "floor", 2.0, 1.0, 3.0, 0.1, 1.0, "")
    for name in ("forward", "population", "gdp"):
        monkeypatch.setattr(bench, name, lambda *_, **__: row)
    monkeypatch.setattr(bench.report, "console", Console(width=200))
    monkeypatch.setattr(bench, "first_result", lambda: {"mvm": 1.0})
    yield write
    for name in [n for n in sys.modules if n.split(".")[0] in NAMES]:
        del sys.modules[name]


def run(out):
    return json.loads((bench.bench(out, peers=True) / "result.json").read_text())["peers"]


@pytest.mark.parametrize(
    "source, reason",
    [
        ("raise RuntimeError('weights must be [a\\nCPU] tensor')", "RuntimeError: weights must be [a"),
        ("raise OSError('libopenblas.so.0: [/cannot] open')", "OSError: libopenblas.so.0: [/cannot] open"),
        ("raise SystemExit", "SystemExit"),
        ("", "ModuleNotFoundError: No module named 'aihwkit.inference'"),
    ],
)
def test_a_peer_that_fails_is_a_row_that_says_why_and_stops_no_other(install, tmp_path, capsys, source, reason):
    install(torch=TORCH, aihwkit=source, aihwkit_lightning="", aihwkit_lightning__nn=LIGHTNING)
    install(aihwkit_lightning__simulator="", aihwkit_lightning__simulator__configs=CONFIG)
    peers = run(tmp_path / "run")
    assert {"aihwkit C++ tile", "aihwkit torch tile", "aihwkit-lightning"} < set(peers)
    for name, works in peers.items():
        for work, found in works.items():
            if name == "aihwkit-lightning":
                assert found["failed"] == "" and found["ms"] > 0 and found["product_ms"] > 0, work
            else:
                assert found["ms"] is found["product_ms"] is None
                assert found["failed"].split(": ")[0] == reason.split(": ")[0]
    assert peers["aihwkit C++ tile"]["population"]["failed"] == reason
    printed = capsys.readouterr().out
    assert f"failed: {reason}" in printed and "times its products" in printed


def test_peers_without_torch_fail_in_their_rows(install, tmp_path):
    install(torch="raise ImportError('libtorch.so: undefined symbol')", aihwkit_lightning="")
    found = run(tmp_path / "run")["aihwkit-lightning"]
    assert {t["failed"] for t in found.values()} == {"ImportError: libtorch.so: undefined symbol"}
