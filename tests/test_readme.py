"""The README's Python runs as printed, in order."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_readmes_python_runs():
    names = {"g": jax.random.uniform(jax.random.key(0), (8, 6)) * 20, "v": jnp.ones(8) * 0.2}
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        if "class MyCore" in block:
            block = block.replace("def mvm(self, x): ...", "def mvm(self, x): return np.zeros((len(x), 200))")
            names["np"] = np
        exec(block, names)
    assert names["error"].shape == (16, 3) and np.isfinite(names["error"]).all()
    assert names["accuracy"].shape == (8, 2)
    assert names["g_eff"].shape == (8, 6)
