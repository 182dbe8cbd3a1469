"""Populations on several devices: eight of a CPU, in a process of their own; and on those of two processes."""

import os
import socket
import subprocess
import sys

import pytest

SETTING = """
import jax.numpy as jnp, numpy as np, crossjax as cx
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
key, tile = jax.random.key(0), cx.Tile(16, 16, cx.devices.noisy(sigma=0.5), noise=0.01)
weights = jax.random.normal(jax.random.key(1), (12, 6)) / 3
calls = []
def count(value):
    jax.debug.callback(lambda v: calls.append(v), value)
    return value
"""
HEAD = f"""
import jax
{SETTING}
assert len(jax.devices()) == 8
mesh = jax.make_mesh((8,), ("chips",), axis_types=(jax.sharding.AxisType.Auto,))
def apart(a, axis="chips"):
    return a.sharding.spec[0] == axis and {{s.data.shape[0] for s in a.addressable_shards}} == {{a.shape[0] // 8}}
"""


def run(code):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", HEAD + code], env=os.environ | flags, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.thorough
def test_chips_stay_where_their_keys_are():
    run("""
keys = jax.random.split(key, 16)
sharded = jax.device_put(keys, NamedSharding(mesh, P("chips")))
error = lambda k, c: cx.mvm_error(k, tile, c, weights)
make = lambda k: cx.program(k, tile, weights)[0]
chips = jax.vmap(make)(sharded)
assert apart(chips.cells.g) and apart(jax.vmap(error)(sharded, chips))
np.testing.assert_allclose(chips.cells.g, jax.vmap(make)(keys).cells.g, rtol=1e-5)
built = jax.vmap(lambda k: cx.build(k, tile, (12, 6)))(sharded)
written, _ = jax.vmap(lambda k, c: cx.write(k, tile, c, 0.1 * weights))(sharded, built)
assert apart(written.cells.g)

one = lambda k: count(error(k, make(k)))
found = cx.stream(one, sharded, batch=2)
jax.effects_barrier()
assert apart(found) and len(calls) == 16
np.testing.assert_allclose(found, cx.stream(one, keys), rtol=1e-5)
""")


@pytest.mark.thorough
def test_an_evaluation_divides_its_chips_among_devices():
    run("""
x = jax.random.normal(key, (4, 12))
net = cx.nn.to_analog(nnx.Linear(12, 6, rngs=nnx.Rngs(0)), tile, report=None)
net.eval()
found = cx.nn.evaluate(key, net, lambda now: count(jnp.mean(now(x) ** 2)), chips=16, times=[0.0, 60.0])
jax.effects_barrier()
assert found.shape == (16, 2) and apart(found) and len(calls) == 32, len(calls)
power = lambda now: jnp.mean(now(x) ** 2)
one = cx.nn.evaluate(key, net, power, chips=16, times=[0.0, 60.0], devices=jax.devices()[2:3])
assert one.devices() == {jax.devices()[2]}
np.testing.assert_allclose(found, one, rtol=1e-5)
six = cx.nn.evaluate(key, net, power, chips=6)
assert len(six.addressable_shards) == 6
there = nnx.clone(net)
nnx.update(there, jax.device_put(nnx.state(net), jax.devices()[3]))
kept = cx.nn.evaluate(key, there, power, chips=16, times=[0.0, 60.0])
assert kept.devices() == {jax.devices()[3]}
np.testing.assert_allclose(found, kept, rtol=1e-5)
""")


SHARED = f"""
import sys, jax
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
{SETTING}
from jax.experimental.multihost_utils import process_allgather
assert len(jax.devices()) == 2 and len(jax.local_devices()) == 1
keys, where = jax.random.split(key, 6), NamedSharding(Mesh(np.asarray(jax.devices()), ("chips",)), P("chips"))
error = lambda k: count(cx.mvm_error(k, tile, cx.program(k, tile, weights)[0], weights))
found = cx.stream(error, jax.make_array_from_callback(keys.shape, where, lambda i: keys[i]))
jax.effects_barrier()
assert found.sharding.is_equivalent_to(where, 1) and len(calls) == 3, len(calls)
np.testing.assert_allclose(process_allgather(found, tiled=True), cx.stream(error, keys), rtol=1e-5)

net = cx.nn.to_analog(nnx.Linear(12, 6, rngs=nnx.Rngs(0)), tile, report=None)
net.eval()
x, calls[:] = jax.random.normal(key, (4, 12)), []
power = lambda now: count(jnp.mean(now(x) ** 2))
found = cx.nn.evaluate(key, net, power, chips=4, times=[0.0, 60.0], devices=jax.devices())
jax.effects_barrier()
assert found.addressable_shards[0].data.shape == (2, 2) and len(calls) == 4, len(calls)
alone = cx.nn.evaluate(key, net, power, chips=4, times=[0.0, 60.0])
assert alone.is_fully_addressable
np.testing.assert_allclose(process_allgather(found, tiled=True), alone, rtol=1e-5)
"""


@pytest.mark.slow
def test_two_processes_share_chips():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    both = [
        subprocess.Popen([sys.executable, "-c", SHARED, address, str(n)], env=flags, stderr=subprocess.PIPE, text=True)
        for n in range(2)
    ]
    try:
        for process in both:
            said = process.communicate(timeout=120)[1]
            assert process.returncode == 0, said[-3000:]
    finally:
        for process in both:
            process.kill()
