"""Strategies and language models from the command line, on made-up data: what is written, resumed and refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_cli import crossjax

import crossjax as cx
from crossjax import nn, strategies, text
from crossjax.papers import language, mackin2022, mackin_study, tsai2019, tuning_study

pytestmark = pytest.mark.thorough


def corpus():
    run = " ".join(f"w{k % 7}" for k in range(400))
    return text.words(run, run[:300], run[:300])


def figures(out):
    return {f["name"]: f["ours"] for f in json.loads((out / "result.json").read_text())["figures"]}


def test_a_strategy_is_found_saved_and_programmed_with(tmp_path):
    np.savez(tmp_path / "net.npz", layer=np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32))
    done = crossjax("optimise-strategy", "net.npz", "--factors", "2.0", "--starts", "8", "--out", "found", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = figures(tmp_path / "found")
    assert found["best_F"] == 2.0 and found["error_optimised"] <= found["error_equal"] < found["error_one_pair"]
    strategy = strategies.load_strategy(tmp_path / "found" / "strategy.json")
    assert isinstance(strategy, cx.Strategy)
    options = ("--tile", "pcm", "--method", "one-shot", "--layout", "jax")
    done = crossjax("program", "net.npz", "--strategy", "found/strategy.json", *options, "--out", "on", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "other.json").write_text("{}")
    for arguments, message in [
        (("program", "net.npz", "--strategy", "other.json"), "is no strategy"),
        (("optimise-strategy", "net.npz", "--device", "pcn"), "unknown device"),
        (("optimise-strategy", "net.npz", "--times", "10", "1"), "ascend"),
        (("optimise-strategy", "net.npz", "--limit", "0.5"), "larger than 0.5"),
    ]:
        done = crossjax(*arguments, cwd=tmp_path)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_mackin2022_compares_strategies_without_and_on_networks(tmp_path, monkeypatch):
    monkeypatch.setattr(mackin_study, "FACTORS", (2.0,))
    monkeypatch.setattr(mackin2022, "FACTORS", (2.0,))
    small = dataclasses.replace(
        mackin2022.PRESETS["quick"], epochs=1, noise_steps=2, seeds=2, tokens=90, published=0.5, times=(1.0, 1e6)
    )
    monkeypatch.setitem(mackin2022.PRESETS, "quick", small)
    monkeypatch.setattr(mackin2022, "_load", lambda options, size: {})
    words = dataclasses.replace(language.WORDS, hidden=6, batch=4, length=5)

    def one(run, key, size, options, loaded):
        models = words.train(language.Trainer(run, key), corpus(), mackin2022.hardware())
        windows = language.as_windows(corpus().test, 2, 10)
        example = jax.ShapeDtypeStruct((2, 4), jnp.int32)
        return [
            language.Task("ptb_lstm", "loss", models, language.ON_TILES["lstm"], example, windows, language.mean_loss)
        ]

    monkeypatch.setattr(mackin2022, "prepare", one)
    out = mackin2022.reproduce(mackin2022.Options(out=tmp_path / "run"))
    found = figures(out)
    assert found["weight_error_change_t0"] == pytest.approx(-0.38, abs=0.03)
    assert found["weight_error_change_30d"] == pytest.approx(-0.32, abs=0.03)
    assert found["alpha_30d"] == pytest.approx(1.77, abs=0.03) and found["best_F"] == 2.0
    assert all(np.isfinite(found[f"lstm_loss_30d_{name}"]) for name in mackin2022.NAMES)
    ranking = json.loads((out / "result.json").read_text())["study"]["ranking"]
    assert ranking["B"]["naive"] < ranking["A"]["naive"] and ranking["B"]["best"] > ranking["A"]["best"]
    assert {"ptb_lstm.png", "strategies.png", "ptb_lstm.csv", "weight_error.csv"} <= {p.name for p in out.iterdir()}


def test_tsai2019_programs_its_networks_and_tunes_matrices(tmp_path, monkeypatch):
    monkeypatch.setattr(tuning_study, "SIZE", 16)
    monkeypatch.setattr(tuning_study, "SPREADS", ())
    monkeypatch.setattr(tuning_study, "READS", ())
    monkeypatch.setattr(tuning_study, "VERIFIED", ())
    monkeypatch.setattr(tuning_study, "DEVICES", (2, 4))
    monkeypatch.setattr(text, "penn_treebank", lambda folder: corpus())
    monkeypatch.setattr(text, "alice", lambda folder: text.characters("down the rabbit hole " * 60, (0.4, 0.3)))
    for name in ("WORDS", "CHARACTERS"):
        monkeypatch.setattr(language, name, dataclasses.replace(getattr(language, name), hidden=6, batch=4, length=5))
    monkeypatch.delitem(tsai2019.METHODS, "open loop")
    small = tsai2019.Preset(1, 1, 2, 90, 1)
    monkeypatch.setitem(tsai2019.PRESETS, "quick", small)
    found = figures(tsai2019.reproduce(tsai2019.Options(out=tmp_path / "run")))
    for name in ("alice", "ptb"):
        assert found[f"cross_entropy_programmed_{name}"] == pytest.approx(
            found[f"cross_entropy_software_{name}"], rel=0.1
        )
    assert found["devices"] == 4 * 2 * 12 * 24
    for name in ("gaussian", "uniform", "trained"):
        assert found[f"fraction_within_tolerance_{name}"] > 0.9
    errors = [found[f"mean_error_{n}_devices"] for n in (2, 4)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.03


def test_a_transformer_is_trained_with_and_without_noise(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(1, 9, (64, 6)).astype(np.int32)
    data = x, (x[:, 0] > 4).astype(np.int32)
    sentences = text.Sentences(data, data, data, tuple("abcdefghi"))

    class Run:
        work = tmp_path

    trainer = language.Trainer(Run(), jax.random.key(0))
    models = language.transformer(trainer, sentences, mackin2022.hardware(), 3, 2)
    for model in models.values():
        assert not list(nn.convert.ops(model)) and bool(jnp.isfinite(model(jnp.asarray(x))).all())
    changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), *(nnx.state(m, nnx.Param) for m in models.values()))
    assert any(jax.tree.leaves(changed))
