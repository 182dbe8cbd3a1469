import atexit
import os
import shutil
import tempfile
from pathlib import Path

import quick_xla

# One thread a worker: OpenBLAS's own spin while they wait for one another, which costs more than small matrices do.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# What one test compiled, the other worker gets from a folder that is gone afterwards (processes of their own do not).
if "CROSSJAX_TESTS_COMPILED" not in os.environ:
    os.environ["CROSSJAX_TESTS_COMPILED"] = tempfile.mkdtemp(prefix="crossjax-tests-")
    atexit.register(shutil.rmtree, os.environ["CROSSJAX_TESTS_COMPILED"], ignore_errors=True)
os.environ["XLA_FLAGS"] = f"{quick_xla.TESTS} {os.environ.get('XLA_FLAGS', '')}"

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import settings

from crossjax import forget_compiled

jax.devices()  # XLA has read its flags; processes that tests start are those of a user, and do not see them
os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].removeprefix(f"{quick_xla.TESTS} ")
jax.config.update("jax_compilation_cache_dir", os.environ["CROSSJAX_TESTS_COMPILED"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
settings.register_profile("crossjax", deadline=None)
settings.load_profile("crossjax")


THOROUGH = Path(__file__).with_name("thorough.txt").read_text(encoding="utf-8").splitlines()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what `thorough.txt` names."""
    named = {line for line in THOROUGH if line and not line.startswith("#")}
    for item in items:
        if item.nodeid.removeprefix("tests/") in named:
            item.add_marker("thorough")


@pytest.fixture(scope="module", autouse=True)
def forgetful():
    """What a file's tests compiled is forgotten after them: gigabytes, of which the next file needs nothing."""
    yield
    forget_compiled()


@pytest.fixture
def key():
    return jax.random.key(7)


@pytest.fixture
def x64():
    """Float64 for references and finite differences."""
    with jax.enable_x64(True):
        yield


def check_gradients(f, tree, rtol=1e-5, atol=1e-9, step=1e-6, samples=6):
    """jax.grad of scalar f against central differences, at every scalar leaf and a few elements of every array."""
    leaves, structure = jax.tree.flatten(tree)
    leaves = [jnp.asarray(leaf, jnp.float64) for leaf in leaves]
    both = jax.jit(jax.value_and_grad(lambda ls: f(jax.tree.unflatten(structure, ls))))  # one program for both
    gradient = both(leaves)[1]
    rng = np.random.default_rng(0)
    for n, leaf in enumerate(leaves):
        for at in rng.choice(leaf.size, size=min(samples, leaf.size), replace=False):
            index = np.unravel_index(at, leaf.shape)
            h = step * (abs(float(leaf[index])) or 1.0)
            up, down = (both([*leaves[:n], leaf.at[index].add(s * h), *leaves[n + 1 :]])[0] for s in (1, -1))
            wanted = float(up - down) / (2 * h)
            np.testing.assert_allclose(
                float(gradient[n][index]), wanted, rtol=rtol, atol=atol, err_msg=f"leaf {n} {index}"
            )
