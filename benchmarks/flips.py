"""``python -m benchmarks.flips [--flips N] [--out DIR]``: which flipped bits of a file are noticed when it is read.

One random bit at a time, half of them in the first 4 KiB, where headers lie. A flip is refused, harmless (what is read
is the same, bit for bit) or unnoticed. Files of crossjax are sealed by a SHA-256; a .npz has checksums; the others have
none, so a flip in their numbers is a number. ``result.json`` of `crossjax program` has the SHA-256 of what was read.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

import crossjax as cx
from crossjax import nn, report
from crossjax.weight_files import load_matrices


def content(tree: Any) -> Any:
    """Structure and bytes of a pytree."""
    leaves, structure = jax.tree.flatten(tree)
    raw = [jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a for a in leaves]
    return structure, [(str(a.dtype), a.shape, np.asarray(a).tobytes()) for a in raw]


def files(folder: Path) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """One small file of each kind, and what reads it."""
    key, w = jax.random.key(0), np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    tile = cx.presets.standard(64, 64)
    chip, _ = cx.program(key, tile, w)
    cx.save(folder / "chip.safetensors", chip, tile=tile)
    model = nn.models.MLP((64, 48, 48), rngs=nnx.Rngs(0))
    programmed, _ = nn.program(key, nn.to_analog(model, tile, report=None), report=None)
    nn.save(folder / "network.safetensors", programmed)
    save_file({"a.weight": w, "b.weight": w.T.copy()}, folder / "weights.safetensors")
    np.savez(folder / "weights.npz", a=w, b=w.T)
    np.save(folder / "weights.npy", w)

    def matrices(path: Path) -> Any:
        return load_matrices(path).matrices

    return {
        "saved chip": (folder / "chip.safetensors", lambda path: cx.load(path, tile=tile)),
        "saved network": (folder / "network.safetensors", lambda path: nnx.state(nn.load(path, model))),
        ".safetensors of others": (folder / "weights.safetensors", matrices),
        ".npz of others": (folder / "weights.npz", matrices),
        ".npy of others": (folder / "weights.npy", matrices),
    }


def flip(path: Path, read: Callable[[Path], Any], flips: int, rng: np.random.Generator) -> Counter[str]:
    """What became of ``flips`` flipped bits."""
    raw, wanted, found = path.read_bytes(), content(read(path)), Counter()
    broken = path.with_name(f"broken{path.suffix}")
    for n in range(flips):
        at = int(rng.integers(len(raw) if n % 2 else min(4096, len(raw))))
        changed = bytearray(raw)
        changed[at] ^= 1 << int(rng.integers(8))
        broken.write_bytes(changed)
        try:
            now = content(read(broken))
        except ValueError:
            found["refused"] += 1
        else:
            found["harmless" if now == wanted else "unnoticed"] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--flips", type=int, default=400)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--force", action="store_true")
    options = parser.parse_args()
    outcomes = ("refused", "harmless", "unnoticed")
    with (
        report.open_run("flips", options.out, {"flips": options.flips}, force=options.force) as run,
        tempfile.TemporaryDirectory() as folder,
    ):
        rng = np.random.default_rng(0)
        found = {name: flip(*file, options.flips, rng) for name, file in files(Path(folder)).items()}
        run.table(
            f"{options.flips} flipped bits of each file",
            ["file", *outcomes],
            [[name, *(counts[o] for o in outcomes)] for name, counts in found.items()],
        )
        unnoticed = sum(counts["unnoticed"] for counts in found.values())
        run.finish(
            [report.figure(f"unnoticed, {name}", counts["unnoticed"]) for name, counts in found.items()],
            f"{options.flips} single bits of each of {len(found)} files were flipped. {unnoticed} changes went "
            f"unnoticed.",
        )


if __name__ == "__main__":
    main()
