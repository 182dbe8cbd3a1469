"""Reading what users bring: weight files of any origin as matrices a crossbar can hold."""

from __future__ import annotations

import dataclasses
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np

LAYOUTS = ("torch", "jax")


@dataclasses.dataclass(frozen=True)
class Matrices:
    """The matrices of one file, by name, as (rows = inputs, cols = outputs), and the tensors left out, with reasons."""

    matrices: dict[str, np.ndarray]
    skipped: dict[str, str]

    @property
    def weights(self) -> int:
        """Weights in all matrices."""
        return sum(w.size for w in self.matrices.values())


def load_matrices(path: str | Path, layout: str | None = None) -> Matrices:
    """All matrices and convolution kernels of a .npz, .npy or .safetensors file.

    A kernel of a convolution becomes the matrix that its im2col inputs meet, (inputs · taps, outputs). Vectors
    (biases, batch-norm statistics) and integers are left out.

    Args:
        path: the file.
        layout: "torch" for (out, in, …) tensors, "jax" for (…, in, out). None: torch for .safetensors, else jax.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, is of another kind, holds no matrix, or holds NaN.
    """
    path = Path(path)
    tensors = read_tensors(path)
    kind = path.suffix.lower()
    layout = layout or ("torch" if kind == ".safetensors" else "jax")
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    matrices, skipped = {}, {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2:
            skipped[name] = "not a matrix"
        elif not (tensor.dtype.kind == "f" or tensor.dtype.name == "bfloat16"):
            skipped[name] = f"{tensor.dtype} numbers"
        elif tensor.size == 0:
            skipped[name] = "empty"
        else:
            w = as_matrix(tensor.astype(np.float32), layout)
            if not np.isfinite(w).all():
                raise ValueError(f"{path.name}: {name} has {int((~np.isfinite(w)).sum())} NaN or infinite weights")
            matrices[name] = w
    if not matrices:
        raise ValueError(f"{path.name} holds no matrix of weights ({len(skipped)} other tensors)")
    return Matrices(matrices, skipped)


def as_matrix(tensor: np.ndarray, layout: str) -> np.ndarray:
    """(out, in, taps…) or (taps…, in, out) to (in · taps, out)."""
    if layout == "torch":
        return np.ascontiguousarray(tensor.reshape(tensor.shape[0], -1).T)
    return tensor.reshape(-1, tensor.shape[-1])


def read_tensors(path: Path, kinds: tuple[str, ...] = (".npz", ".npy", ".safetensors")) -> dict[str, np.ndarray]:
    """All arrays of a weight file, by name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is of another kind or cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weight file at {path}")
    kind = path.suffix.lower()
    if kind not in kinds:
        raise ValueError(f"{path.name}: weights are read from {' or '.join(kinds)} files, not {kind or 'this'}")
    try:
        if kind == ".npy":
            return {path.stem: np.load(path, allow_pickle=False)}
        if kind == ".npz":
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as archive:
            return {name: archive.get_tensor(name) for name in archive.keys()}
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} is truncated or not a {kind} file: {error}") from error
    except Exception as error:  # safetensors raises its own type, with no public base
        if type(error).__name__ != "SafetensorError":
            raise
        raise ValueError(f"{path.name} is truncated or not a {kind} file: {error}") from error


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 handwritten digits: images (n, 64) in [0, 1] and labels (n,).

    The test set of "Optical recognition of handwritten digits" (Alpaydin and Kaynak, UCI, 1998; CC BY 4.0), the one
    that scikit-learn ships.
    """
    with resources.files("crossjax.experiments").joinpath("digits.npz").open("rb") as file, np.load(file) as d:
        return d["images"].astype(np.float32) / 16, d["labels"].astype(np.int32)
