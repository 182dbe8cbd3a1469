"""Spiking networks: neurons step by step, rates against activations, noise of every step, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import crossjax as cx
from crossjax import nn, photonic

KEY = jax.random.key(6)


@pytest.fixture(scope="module")
def network():
    return nn.models.MLP((20, 48, 5), bias=False, rngs=nnx.Rngs(0)), jax.random.uniform(KEY, (150, 20))


@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_membranes_are_those_of_a_loop(reset):
    neuron = nn.IntegrateAndFire(reset)
    currents = np.random.default_rng(0).normal(0.3, 0.5, (40, 7)).astype(np.float32)
    state, mine, found = neuron.start((7,)), np.zeros(7), []
    for current in currents:
        state, spikes = neuron.step(KEY, state, jnp.asarray(current), jnp.asarray(1.0))
        mine = mine + current
        fired = mine >= 1.0
        mine = np.where(fired, mine - 1.0 if reset == "soft" else 0.0, mine)
        found.append((np.asarray(spikes) == fired).all())
    assert all(found)
    np.testing.assert_allclose(state, mine, atol=1e-5)


def test_a_neuron_of_gst_only_grows_and_loses_what_is_beyond_its_threshold():
    neuron = photonic.GSTNeuron()
    state, fired = neuron.start((3,)), []
    for current in ([0.6, -0.5, 5.0], [0.3, -0.5, 0.4], [0.3, 0.2, 0.4]):
        state, spikes = neuron.step(KEY, state, jnp.asarray(current), jnp.asarray(1.0))
        fired.append(np.asarray(spikes).tolist())
    assert fired == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    np.testing.assert_allclose(state, [0.0, 0.12, 0.48], atol=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_rates_become_the_activations(bias):
    net = nn.models.MLP((20, 48, 30, 5), bias=bias, rngs=nnx.Rngs(1))
    if bias:
        for layer in net.layers:
            layer.bias.set_value(jax.random.normal(KEY, layer.bias.shape) * 0.1)
    x = jax.random.uniform(KEY, (150, 20))
    wanted = net(x)
    found = nn.spiking(net, x, steps=1024, percentile=100.0).course(x)
    size = float(jnp.abs(wanted).max())
    errors = [float(jnp.abs(found[t - 1] - wanted).max()) / size for t in (16, 128, 1024)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.01  # as 1 / T
    assert float((found[-1].argmax(-1) == wanted.argmax(-1)).mean()) >= 0.99


def test_a_hard_reset_loses_what_a_soft_one_keeps(network):
    net, x = network
    wanted = net(x).argmax(-1)
    right = [
        float((nn.spiking(net, x, steps=64, neuron=nn.IntegrateAndFire(r))(x).argmax(-1) == wanted).mean())
        for r in ("soft", "hard")
    ]
    assert right[0] > right[1]


@pytest.mark.parametrize("coding", ["random", "current"])
def test_other_codings_of_inputs(network, coding):
    net, x = network
    found = nn.spiking(net, x, steps=256, coding=coding, percentile=100.0)(x)
    assert float((found.argmax(-1) == net(x).argmax(-1)).mean()) > (0.85 if coding == "random" else 0.97)


def test_gradients_through_spikes_are_a_triangles():
    slope = jax.vmap(jax.grad(lambda v: nn.IntegrateAndFire().step(KEY, v, jnp.zeros(()), jnp.asarray(2.0))[1]))
    np.testing.assert_allclose(slope(jnp.array([-0.5, 1.0, 2.0, 3.0, 4.5])), [0.0, 0.25, 0.5, 0.25, 0.0])


def test_inputs_are_rates_and_nan_is_not_hidden(network):
    net, x = network
    made = nn.spiking(net, x, steps=8)
    with pytest.raises(ValueError, match="rates of spikes"):
        made(2.0 * x + 0.1)
    assert made(x.astype(jnp.float16)).dtype == jnp.float32
    assert np.isnan(jax.jit(lambda a: made(a))(x.at[0, 3].set(jnp.nan))[0]).all()


def test_every_step_sees_noise_of_its_own_and_chips_are_pure_functions(network):
    net, x = network
    tile = cx.Tile(32, 64, noise=0.5)
    same = jnp.ones((1, 20))  # a spike on every input at every step: the first layer's inputs are equal
    spiking = nn.spiking(net, x, steps=40)
    analog = nn.to_analog(spiking, tile, report=None)
    now = nn.read(KEY, nn.program(KEY, analog, ranges="keep", report=None)[0])
    one = nn.at_step(now, 0).layers[0](same), nn.at_step(now, 1).layers[0](same)
    assert float(jnp.abs(one[0] - one[1]).min()) > 0
    outputs = now.course(same) * jnp.arange(1, 41)[:, None, None]
    steps = np.diff(np.asarray(outputs[:, 0]), axis=0)
    assert np.unique(steps[:, 0]).size == 39
    np.testing.assert_array_equal(now(x), now(x))
    np.testing.assert_allclose(jax.jit(lambda a: now(a))(x), now(x), atol=1e-4)


def test_spikes_on_an_array_of_gst(network):
    net, x = network
    analog = nn.to_analog(nn.spiking(net, x, steps=64), photonic.array(64, 64), report=None)
    now = nn.read(KEY, nn.program(KEY, analog, ranges="keep", report=None)[0])
    assert float((now(x).argmax(-1) == net(x).argmax(-1)).mean()) > 0.8


def test_a_network_that_is_no_chain_of_relu_is_refused(network):
    class Tanh(nn.models.MLP):
        def __call__(self, x):
            return self.layers[1](jnp.tanh(self.layers[0](x)))

    with pytest.raises(ValueError, match="with ReLU between"):
        nn.spiking(Tanh((20, 48, 5), rngs=nnx.Rngs(0)), network[1])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "steps"),
        ({"coding": "phase"}, "coding"),
        ({"percentile": 0.0}, "percentile"),
        ({"x": 2.0 * jnp.ones((3, 20))}, r"within \[0, 1\]"),
        ({"model": nn.models.LeNet5(rngs=nnx.Rngs(0))}, "two or more nnx.Linear"),
    ],
)
def test_bad_input_is_refused(network, options, message):
    net, x = network
    with pytest.raises(ValueError, match=message):
        nn.spiking(**({"model": net, "x": x} | options))
    with pytest.raises(ValueError, match="reset"):
        nn.IntegrateAndFire("none")
