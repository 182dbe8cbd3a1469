"""Text: corpora and windows, LSTMs and a Transformer on tiles, training that carries its state on."""

import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import check_gradients
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import crossjax as cx
from crossjax import nn, text, training

KEY = jax.random.key(4)
TOKENS = jax.random.randint(KEY, (3, 6), 0, 11)


def model(**options):
    return nn.language.LanguageModel(11, 8, 2, rngs=nnx.Rngs(0), **options)


def on(net, tile, **options):
    example = jax.ShapeDtypeStruct((3, 6), jnp.int32)
    return nn.to_analog(net, None, [(".*gates", tile)], example=example, report=None, **options)


@given(n=st.integers(8, 60), streams=st.integers(1, 4), length=st.integers(1, 5))
@settings(max_examples=60)
def test_windows_follow_one_another_in_every_stream(n, streams, length):
    tokens = np.arange(n)
    if (n // streams - 1) // length < 1:
        with pytest.raises(ValueError, match="too few"):
            text.windows(tokens, streams, length)
        return
    x, y = text.windows(tokens, streams, length)
    np.testing.assert_array_equal(y, x + 1)
    steps = x.reshape(-1, streams, length)
    np.testing.assert_array_equal(steps[1:, :, 0], steps[:-1, :, -1] + 1)  # goes on where the last one ended


def test_words_and_characters_become_numbers():
    corpus = text.words("the cat sat\nthe dog <unk>", "the bird", "a dog")
    assert corpus.vocabulary[:2] == ("<eos>", "the") and corpus.train.tolist()[-1] == 0
    assert [corpus.vocabulary[k] for k in corpus.valid] == ["the", "<unk>", "<eos>"]
    assert len(text.characters("abcab" * 20).vocabulary) == 3
    for call, message in [
        (lambda: text.words("", "a b", "a b"), "0 tokens"),
        (lambda: text.characters("a" * 10), "nothing to predict"),
        (lambda: text.words("a b", "a c", "a"), "outside the vocabulary"),
        (lambda: text.encode(["x"], ("a", "b")), "'x'"),
        (lambda: text.windows(np.arange(9), 0, 1), "at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_corpora_are_the_published_ones_or_refused(tmp_path, monkeypatch):
    files = {"alice.txt": "down the rabbit hole " * 30}
    monkeypatch.setattr(text, "_ALICE", {n: hashlib.sha256(c.encode()).hexdigest() for n, c in files.items()})
    with pytest.raises(FileNotFoundError, match=r"alice\.txt"):
        text.alice(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert len(text.alice(tmp_path).train) == 567
    (tmp_path / "alice.txt").write_text("other")
    with pytest.raises(ValueError, match="another digest"):
        text.alice(tmp_path)
    table = "sentence\tlabel\ngood film\t1\nbad good\t0\n"
    (tmp_path / "sst2").mkdir()
    for part in text._SST2:
        (tmp_path / "sst2" / part).write_text(table)
    monkeypatch.setattr(text, "_SST2", dict.fromkeys(text._SST2, hashlib.sha256(table.encode()).hexdigest()))
    found = text.sst2(tmp_path, longest=3)
    assert found.vocabulary == ("<pad>", "<unk>", "good") and found.train[0].tolist() == [[2, 1, 0], [1, 2, 0]]
    assert found.test[1].tolist() == [1, 0]


def test_an_lstm_layer_is_the_published_one(x64):
    layer = nn.language.LSTM(3, 5, rngs=nnx.Rngs(1))
    cell = nnx.OptimizedLSTMCell(3, 5, rngs=nnx.Rngs(1))
    kernel = layer.gates.kernel[...].reshape(8, 4, 5)
    cell.dense_i.kernel[...] = kernel[:3].reshape(3, -1)
    cell.dense_h.kernel[...] = kernel[3:].reshape(5, -1)
    cell.dense_h.bias[...] = layer.gates.bias[...]
    x = jax.random.normal(KEY, (2, 4, 3))
    carry = jnp.zeros((2, 5)), jnp.zeros((2, 5))
    y, (_, c) = layer(x, carry)
    state = carry[::-1]
    for n in range(4):
        state, out = cell(state, x[:, n])
        np.testing.assert_allclose(y[:, n], out, atol=1e-6)
    np.testing.assert_allclose(state[0], c, atol=1e-6)


def test_an_lstm_on_ideal_tiles_is_the_digital_one():
    net = model()
    analog = on(net, cx.presets.ideal())
    np.testing.assert_allclose(analog(TOKENS), net(TOKENS), atol=2e-5)
    half, state = net.run(TOKENS[:, :3], net.start(3))
    rest, _ = net.run(TOKENS[:, 3:], state)
    np.testing.assert_allclose(jnp.concatenate([half, rest], axis=1), net(TOKENS), atol=1e-6)


@pytest.mark.slow
def test_programmed_lstms_see_noise_of_their_own_at_every_step():
    constant = jnp.zeros((2, 6), jnp.int32)  # equal inputs at all steps
    noisy = cx.Tile(32, 32, noise=0.1, compensation=None)
    chip, _ = nn.program(KEY, on(model(), noisy), report=None)
    now = nn.read(KEY, chip, 0.0)
    layer = now.layers[0]
    x, zero = jnp.zeros((2, 6, 8)), (jnp.zeros((2, 8)), jnp.zeros((2, 8)))
    steps = jnp.stack([nn.at_step(layer.gates, n)(jnp.concatenate([x[:, 0], zero[0]], axis=1)) for n in range(3)])
    assert float(jnp.abs(steps[0] - steps[1]).min()) > 0
    np.testing.assert_allclose(now(constant), jax.jit(lambda s: nnx.merge(nnx.graphdef(now), s)(constant))(
        nnx.state(now)), atol=1e-5)  # fmt: skip
    data = (TOKENS, jnp.roll(TOKENS, -1, axis=1))
    calibrated = nn.calibrate(on(model(), cx.replace(cx.presets.hermes(), rows=32, cols=32)), data[0])
    assert all(op.calibrated for op in nn.convert.ops(calibrated))


@pytest.mark.slow
def test_what_a_loop_holds_is_what_every_call_works_out(x64):
    noise = [training.WeightNoise(0.1)]
    analog = on(model(), cx.presets.ideal(), injections=noise)
    gates, xh = analog.layers[0].gates, jax.random.normal(KEY, (2, 16))

    def loss(kernel, hold):
        layer = nnx.clone(gates)
        layer.kernel[...] = kernel
        layer = nn.held(layer) if hold else layer
        return jnp.sum(jnp.sin(layer(xh)) + nn.at_step(layer, 1)(xh))

    kernel = gates.kernel[...]
    both = [jax.value_and_grad(functools.partial(loss, hold=hold))(kernel) for hold in (True, False)]
    np.testing.assert_allclose(both[0][0], both[1][0], rtol=1e-6)
    np.testing.assert_allclose(both[0][1], both[1][1], rtol=1e-5, atol=1e-8)


@pytest.mark.slow
def test_gradients_through_time(x64):
    analog = on(model(), cx.presets.ideal())
    graph, params, rest = nnx.split(analog, nnx.All(nnx.Param, nnx.Not(nnx.PathContains("embed"))), ...)

    def loss(params):  # by all but the embedding, which Flax looks up in single precision
        logits = nnx.merge(graph, params, rest, copy=True)(TOKENS)
        return optax.softmax_cross_entropy_with_integer_labels(logits, TOKENS).mean()

    check_gradients(loss, params, rtol=2e-4, atol=1e-8, samples=2)


@pytest.mark.slow
def test_training_carries_the_state_on_and_learns():
    run = np.tile(np.arange(11, dtype=np.int32), 60)  # the next token follows from this one
    data = text.windows(run, 3, 6)
    step = training.CarriedState(training.zaremba(1000, rate=0.5), 3, 6.0)
    start = model()
    graph, params, rest = nnx.split(start, nnx.Param, ...)
    kept = step.init(start)
    first = step.update(KEY, nnx.merge(graph, params, rest, copy=True), kept, *(jnp.asarray(a[:3]) for a in data))[0]
    assert float(jnp.abs(first[1][0][0]).max()) > 0  # the state of the first layer goes into the next window
    trained = training.fit(KEY, start, data, steps=200, batch=3, step=step, order=training.in_order, progress=False)
    assert trained.loss[0] > 2.2 and trained.loss[-1] < 0.3 and trained.accuracy[-1] == 1.0
    noisy = on(trained.model, cx.presets.ideal(), injections=[training.WeightNoise(0.05)])
    more = training.fit(KEY, noisy, data, steps=10, batch=3, step=step, order=training.in_order, progress=False)
    assert np.isfinite(more.loss).all()


@pytest.mark.slow
def test_a_transformer_ignores_what_comes_after_the_sentence():
    net = nn.language.TextClassifier(20, width=16, heads=2, inner=16, layers=1, longest=8, rngs=nnx.Rngs(0))
    tokens = jnp.array([[3, 4, 5, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7, 8]])
    short = net(tokens[:1, :4])
    np.testing.assert_allclose(net(tokens)[:1], short, atol=1e-5)
    example = jax.ShapeDtypeStruct((2, 8), jnp.int32)
    analog = nn.to_analog(net, None, [(r"layers\..*", cx.presets.ideal())], example=example, report=None)
    np.testing.assert_allclose(analog(tokens), net(tokens), atol=2e-5)
    assert len(list(nn.convert.ops(analog))) == 6
