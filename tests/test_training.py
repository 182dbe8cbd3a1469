"""The training loop, its transformations and its checkpoints."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import crossjax as cx
from crossjax import nn, training
from crossjax.images import digits
from crossjax.tiles.tile import Tile

pytestmark = pytest.mark.slow

TILE = Tile(512, 512, dac=cx.DAC(range=1.0), adc=cx.ADC(range=10.0), noise=0.04, compensation=None)


@pytest.fixture(scope="module")
def data():
    return digits()


def network(**options):
    model = nn.models.MLP((64, 32, 10), rngs=nnx.Rngs(0))
    return nn.to_analog(model, TILE, injections=[training.WeightNoise()], report=None, **options)


def train(data, model, steps, *, optimiser=None, **options):
    optimiser = optimiser or optax.chain(optax.adam(3e-3), training.clip_weights(2.5))
    return training.fit(jax.random.key(3), model, data, optimiser, steps=steps, batch=64, progress=False, **options)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, nnx.state(a, nnx.Param), nnx.state(b, nnx.Param))


def test_a_noisy_network_learns_and_the_same_key_gives_the_same_network(data):
    first, again = (train(data, network(), 300) for _ in range(2))
    same(first.model, again.model)
    np.testing.assert_array_equal(first.loss, again.loss)
    assert first.accuracy[-30:].mean() > 0.93 > first.accuracy[:5].mean() and len(first.loss) == 300
    for layer in first.model.layers:
        w = layer.kernel.get_value()
        assert jnp.abs(w).max() <= 2.5 * jnp.std(w) * 1.1
    unlike = training.fit(jax.random.key(4), network(), data, optax.sgd(0.1), steps=2, batch=64, progress=False)
    assert not np.array_equal(unlike.loss, first.loss[:2])


def test_interrupted_and_resumed_is_not_interrupted(data, tmp_path):
    whole = train(data, network(), 40)

    train(data, network(), 25, checkpoints=tmp_path / "run", every=10)  # as far as it came
    resumed = train(data, network(), 40, checkpoints=tmp_path / "run", every=10)
    same(whole.model, resumed.model)
    np.testing.assert_array_equal(whole.loss, resumed.loss)
    with pytest.raises(ValueError, match="holds 40 steps, more than the 30"):
        train(data, network(), 30, checkpoints=tmp_path / "run")
    finished = train(data, network(), 40, checkpoints=tmp_path / "run")
    same(whole.model, finished.model)


@dataclasses.dataclass(frozen=True)
class Pulses:
    """Sign-SGD: every weight moves by one noisy pulse, counted; no Optax."""

    size: float = 2e-3

    def init(self, model):
        return {"pulses": jnp.zeros((), int)}

    def update(self, key, model, state, x, y):
        nn.set_key(model, key)
        (loss, logits), slopes = nnx.value_and_grad(training.cross_entropy, has_aux=True)(model, x, y)

        def pulse(w, g):
            return w - self.size * jnp.sign(g) * (1 + 0.3 * jax.random.normal(key, w.shape))

        nnx.update(model, jax.tree.map(pulse, nnx.state(model, nnx.Param), slopes))
        return {"pulses": state["pulses"] + 1}, loss, jnp.mean(jnp.argmax(logits, -1) == y)


def test_a_step_of_ones_own_trains_and_resumes(data, tmp_path):
    """With an order, a bar and a guard of one's own, too: what `fit` is made of is exchanged piece by piece."""
    shown, seen = [], []

    class Bar(training.Bar):
        def show(self, done, loss, accuracy, speed):
            shown.append(done)

    def run(steps, size=2e-3, folder="run", order=lambda key, epoch, n: np.roll(np.arange(n), epoch), **options):
        return training.fit(
            jax.random.key(3), network(), data, steps=steps, batch=64, checkpoints=tmp_path / folder, every=20,
            step=Pulses(size), order=order, progress=lambda *run: Bar(*run), **options,
        )  # fmt: skip

    whole = run(120, folder="whole", guard=lambda first, losses: seen.append((first, len(losses))))
    assert whole.accuracy[-20:].mean() > 0.8 > 0.3 > whole.accuracy[:3].mean()
    assert shown == list(range(10, 121, 10)) and seen == [(n - 10, 10) for n in shown]
    run(50)
    resumed = run(120)
    same(whole.model, resumed.model)
    np.testing.assert_array_equal(whole.loss, resumed.loss)
    for change, what in (({"size": 1e-3}, "step or prepare"), ({"order": training.shuffled}, "order")):
        with pytest.raises(ValueError, match=f"with another {what}:"):
            run(120, **change)
    for options in ({}, {"optimiser": optax.sgd(0.1), "step": Pulses()}, {"step": Pulses(), "remat": True}):
        with pytest.raises(ValueError, match=r"optimiser or a step, got (neither|both)|a step of your own has its own"):
            training.fit(jax.random.key(0), network(), data, steps=1, **options)


def test_a_damaged_checkpoint_is_named(data, tmp_path):
    train(data, network(), 10, checkpoints=tmp_path / "run")
    for file in (tmp_path / "run" / "10").rglob("*"):
        if file.is_file() and "d" in file.parts:
            file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"step 10 in .* damaged.*remove"):
        train(data, network(), 20, checkpoints=tmp_path / "run")


def test_a_checkpoint_of_another_network_is_refused(data, tmp_path):
    train(data, network(), 10, checkpoints=tmp_path / "run")
    other = nn.models.MLP((64, 16, 10), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="of another run"):
        train(data, other, 20, checkpoints=tmp_path / "run")


def test_training_stops_at_the_first_nan(data):
    x = data[0].copy()
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf) at step \d+: lower"):
        train((x * 1e30, data[1]), nn.models.MLP((64, 32, 10), rngs=nnx.Rngs(0)), 60, optimiser=optax.sgd(1e10))
    x[:] = np.nan
    with pytest.raises(FloatingPointError, match="loss is nan at step 0"):
        train((x, data[1]), network(), 60)


@pytest.mark.parametrize(("bad", "why"), [((5, 4), "one length"), ((40, 40), "between 1 and")])
def test_data_that_do_not_fit(bad, why):
    with pytest.raises(ValueError, match=why):
        train((np.zeros((bad[0], 64)), np.zeros(bad[1], int)), network(), 1)


def test_learned_ranges_move_and_decay(data):
    model = nn.calibrate(network(learn_ranges=True), data[0][:500], percentile=99.9)
    start = [float(op.input_range.get_value()) for op in nn.convert.ops(model)]
    optimiser = optax.chain(optax.sgd(0.0), training.ranges(decay=0.01))
    decayed = train(data, model, 10, optimiser=optimiser).model
    found = [float(op.input_range.get_value()) for op in nn.convert.ops(decayed)]
    np.testing.assert_allclose(found, np.array(start) * 0.99**10, rtol=1e-5)
    learned = train(data, model, 100, optimiser=optax.chain(optax.adam(3e-3), training.ranges(decay=1e-3)))
    ends = [float(op.input_range.get_value()) for op in nn.convert.ops(learned.model)]
    assert all(e > 0 for e in ends) and not np.allclose(ends, np.array(start) * 0.999**100, rtol=0.01)
    assert learned.accuracy[-20:].mean() > 0.85
    tiny = train(data, model, 3, optimiser=optax.chain(optax.sgd(1e4), training.ranges(0.5, smallest=0.01)))
    assert all(float(op.input_range.get_value()) >= 0.0099 for op in nn.convert.ops(tiny.model))


def test_clipping_is_to_alpha_standard_deviations(key):
    params = {"w": jax.random.normal(key, (50, 40)), "b": 9.0 * jnp.ones(3)}
    clip = training.clip_weights(1.5)
    updates, _ = clip.update(jax.tree.map(jnp.zeros_like, params), clip.init(params), params)
    new = optax.apply_updates(params, updates)
    limit = 1.5 * jnp.std(params["w"])
    np.testing.assert_allclose(new["w"], jnp.clip(params["w"], -limit, limit), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(new["b"], params["b"])
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="alpha"):
            training.clip_weights(bad)
    with pytest.raises(ValueError, match="decay"):
        training.ranges(1.0)


def test_distillation_is_cross_entropy_and_divergence(data):
    teacher, student = (nn.models.MLP((64, 10), rngs=nnx.Rngs(k)) for k in (0, 1))
    x, y = jnp.asarray(data[0][:32]), jnp.asarray(data[1][:32])
    hard, logits = training.cross_entropy(student, x, y)
    p, q = jax.nn.softmax(teacher(x) / 3), jax.nn.softmax(logits / 3)
    wanted = 0.4 * hard + 0.6 * 9 * jnp.mean(jnp.sum(p * jnp.log(p / q), axis=-1))
    found, _ = training.distillation(teacher, temperature=3.0, weight=0.6)(student, x, y)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert float(training.distillation(teacher, weight=1.0)(teacher, x, y)[0]) == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match="distillation"):
        training.distillation(teacher, weight=2.0)


def test_remat_computes_the_same(data):
    plain, remat = (train(data, network(), 3, remat=r) for r in (False, True))
    np.testing.assert_allclose(plain.loss, remat.loss, rtol=1e-5)


def test_batch_norms_learn_their_statistics(data):
    model = nnx.Sequential(nnx.Linear(64, 10, rngs=nnx.Rngs(0)), nnx.BatchNorm(10, rngs=nnx.Rngs(0)))
    trained = train(data, model, 5).model
    assert float(jnp.abs(trained.layers[1].mean.get_value()).max()) > 0


def test_training_for_the_chip_pays_on_the_chip(data):
    x, y = data
    noise = 0.25
    tile = Tile(512, 512, compensation=None)
    scores = []
    for injections in ([], [training.WeightNoise(noise)]):
        model = nn.models.MLP((64, 32, 10), rngs=nnx.Rngs(0))
        start = nn.to_analog(model, tile, injections=injections, report=None)
        trained = train((x[500:], y[500:]), start, 600).model
        tested = nn.to_analog(
            nnx.merge(nnx.graphdef(model), nnx.state(trained, nnx.Param)), tile,
            injections=[training.WeightNoise(noise)], report=None,
        )  # fmt: skip
        graph, state = nnx.split(tested)

        def accuracy(k, graph=graph, state=state):
            net = nnx.merge(graph, state, copy=True)
            nn.set_key(net, k)
            return nn.accuracy(net, jnp.asarray(x[:500]), jnp.asarray(y[:500]))

        scores.append(float(jnp.mean(jax.vmap(accuracy)(jax.random.split(jax.random.key(1), 20)))))
    assert scores[1] > scores[0] + 0.03 and scores[1] > 0.75


def test_a_checkpoint_resumes_its_own_run_only(data, tmp_path):
    """Whatever a run follows from is in its fingerprint, and nothing else is."""

    def run(key=0, x=data[0], y=data[1], rate=0.1, batch=64, seed=0, noise=0.1, steps=2, scale=1.0, **options):
        model = nn.to_analog(
            nn.models.MLP((64, 10), rngs=nnx.Rngs(seed)), cx.replace(cx.presets.ideal(), noise=noise), report=None
        )
        return training.fit(
            jax.random.key(key), model, (x, y), optax.sgd(optax.cosine_decay_schedule(rate, 50)), steps=steps,
            batch=batch, prepare=lambda k, x: x * scale, checkpoints=tmp_path / "run", progress=False, **options,
        )  # fmt: skip

    run()
    for change, what in (
        ({"key": 1}, "another key"),
        ({"x": data[0] + 1e-3}, "another data"),
        ({"y": (data[1] + 1) % 10}, "another data"),
        ({"batch": 32}, "another batch"),
        ({"rate": 0.2}, "another optimiser"),
        ({"seed": 1}, "another starting numbers"),
        ({"noise": 0.2}, "another starting numbers, tile"),
        ({"noise": None}, "tile"),
        ({"scale": 2.0}, "another loss or prepare"),
    ):
        with pytest.raises(ValueError, match=f"is of another run, with .*{what.removeprefix('another ')}"):
            run(**change)
    run(remat=True, every=7, label="the same run")


def test_labels_beyond_the_outputs_are_refused(data):
    with pytest.raises(ValueError, match="labels go up to 9, and the network has 4 outputs"):
        train(data, nn.models.MLP((64, 4), rngs=nnx.Rngs(0)), 1)
    for labels in (data[1].astype(float), data[1] - 1, data[1][:, None]):
        with pytest.raises(ValueError, match="labels"):
            train((data[0], labels), network(), 1)
