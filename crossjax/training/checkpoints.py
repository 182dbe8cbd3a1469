"""Where a long training run keeps itself: every number of it, written by Orbax, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp


class Checkpoints:
    """A folder with the latest states of one run; use it as a context.

    Args:
        folder: made if it is not there.
        inputs: what the run follows from (`fingerprint`), kept beside every state.
        keep: how many states to keep.
    """

    def __init__(self, folder: str | Path, inputs: Mapping[str, str], keep: int = 2) -> None:
        self.folder, self.inputs = Path(folder).absolute(), dict(inputs)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self.manager = ocp.CheckpointManager(self.folder, options=options)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.manager.close()

    def save(self, step: int, state: Any) -> None:
        """Write a pytree of arrays and keys."""
        leaves = {f"{k:05d}": plain(leaf) for k, leaf in enumerate(jax.tree.leaves(state))}
        parts = {"state": ocp.args.StandardSave(leaves), "inputs": ocp.args.JsonSave(self.inputs)}
        self.manager.save(step, args=ocp.args.Composite(**parts))
        self.manager.wait_until_finished()

    def latest(self) -> int | None:
        """The step of the newest state, None if there is none."""
        return self.manager.latest_step()

    def restore(self, like: Any) -> Any:
        """The newest state, a pytree like ``like``.

        Raises:
            ValueError: if it is damaged, or of a run with other inputs; says which.
        """
        step = self.latest()
        past = self._restored(step, inputs=ocp.args.JsonRestore())["inputs"]
        differs = [name for name in self.inputs | past if past.get(name) != self.inputs.get(name)]
        if differs:
            raise ValueError(
                f"the checkpoint of step {step} in {self.folder} is of another run, with another {', '.join(differs)}: "
                "give this run a folder of its own, or call it as that one was"
            )
        leaves, structure = jax.tree.flatten(like)
        target = {
            f"{k:05d}": jax.ShapeDtypeStruct(a.shape, a.dtype) for k, a in enumerate(plain(leaf) for leaf in leaves)
        }
        found = self._restored(step, state=ocp.args.StandardRestore(target))["state"]
        return jax.tree.unflatten(structure, [_like(found[name], a) for name, a in zip(target, leaves, strict=True)])

    def _restored(self, step: int | None, **parts: Any) -> Any:
        try:
            return self.manager.restore(step, args=ocp.args.Composite(**parts))
        except Exception as error:  # Orbax and TensorStore raise many kinds
            raise ValueError(
                f"the checkpoint of step {step} in {self.folder} is damaged or of another version "
                f"({str(error).splitlines()[0][:200]}): remove {self.folder / str(step)} to go on from an earlier "
                "one, or the whole folder to start again"
            ) from error


def plain(leaf: Any) -> np.ndarray:
    """A leaf as NumPy has it: a key is its words."""
    is_key = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def _like(value: Any, leaf: Any) -> Any:
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(value), impl=str(jax.random.key_impl(leaf)))
    return jnp.asarray(value)
