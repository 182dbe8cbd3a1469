"""Weight files of any origin as matrices that a crossbar can hold."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from crossjax.tensors import read_tensors

LAYOUTS = ("torch", "jax")

_EMBEDDING = re.compile(
    r"(?<!un)embed(?!\w*_out)|(^|_)(emb|tokens?|pos|position|positional|attention_bias)(_|$)|^w[tp]e$"
)
_PART = re.compile(r"^(weight_[vg]|weight_(orig|mask)|original\d?)$")  # of PyTorch's reparametrised weights


@dataclasses.dataclass(frozen=True)
class Matrices:
    """The matrices of one file, by name, as (rows = inputs, cols = outputs).

    Attributes:
        matrices: weights by tensor name.
        skipped: why other tensors were left out.
        layouts: "torch" or "jax", and what told so, for every matrix.
    """

    matrices: dict[str, np.ndarray]
    skipped: dict[str, str]
    layouts: dict[str, str]

    @property
    def weights(self) -> int:
        """Weights in all matrices."""
        return sum(w.size for w in self.matrices.values())


def load_matrices(
    path: str | Path, layout: str | None = None, *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Matrices:
    """All matrices and convolution kernels of a .npz, .npy or .safetensors file.

    A kernel of a convolution becomes the matrix that its im2col inputs meet, (inputs · taps, outputs). Vectors
    (biases, batch-norm statistics), integers, embeddings (which are looked up, not multiplied) and tables that are
    added (positions, tokens) are left out.

    Without a layout, each tensor's name tells it: PyTorch's "….weight" is (out, in, …), Flax's "….kernel" (…, in, out).
    A tensor with another name follows its bias, if there is one that fits one side only. Where neither tells it, one of
    a .safetensors file is refused; one of a .npz or .npy file is taken to be like the file's others, or (…, in, out).

    Args:
        path: the file.
        layout: "torch" for (out, in, …) tensors, "jax" for (…, in, out), of all of them.
        include: regular expressions; matrices in whose name none is found are left out, the others are taken even if
            they are embeddings.
        exclude: regular expressions; matrices in whose name one is found are left out.

    Raises:
        OSError: if there is no such file, or the system cannot read it.
        ValueError: if it is damaged or of another kind, holds no matrix, or NaN; for names that contradict biases or
            tell nothing; for a pattern that matches no matrix.
    """
    path = Path(path)
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    tensors = read_tensors(path)
    skipped = {name: why for name, tensor in tensors.items() if (why := _no_matrix(name, tensor))}
    names = [name for name in tensors if name not in skipped]
    if not names:
        raise ValueError(f"{path.name} holds no matrix of weights ({len(skipped)} other tensors)")
    wanted, unwanted = _matching("include", include, names, path), _matching("exclude", exclude, names, path)
    for name in names:
        if name in unwanted:
            skipped[name] = "excluded"
        elif include and name not in wanted:
            skipped[name] = "not included"
        elif not include and (why := _no_product(name, tensors)):
            skipped[name] = why
    names = [name for name in names if name not in skipped]
    if not names:
        raise ValueError(f"{path.name}: every matrix is left out ({_some(skipped)}): name some with --include")
    layouts = {name: f"{layout}, as asked for" for name in names} if layout else _layouts(path, names, tensors)
    matrices = {}
    for name in names:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
            weights = tensors[name].astype(np.float32)
        w = as_matrix(weights, layouts[name].split(",")[0], _outputs(name, tensors))
        if not np.isfinite(w).all():
            raise ValueError(f"{path.name}: {name!r} has {int((~np.isfinite(w)).sum())} NaN or infinite weights")
        matrices[name] = w
    return Matrices(matrices, skipped, layouts)


def as_matrix(tensor: np.ndarray, layout: str, outputs: int = 1) -> np.ndarray:
    """(out, in, taps…) or (taps…, in, out) to (in · taps, out); in JAX's layout, ``outputs`` last axes are outputs."""
    if layout == "torch":
        return np.ascontiguousarray(tensor.reshape(tensor.shape[0], -1).T)
    return tensor.reshape(-1, int(np.prod(tensor.shape[-outputs:])))


# ---------------------------------------------------------------------------------- what tensors are


def _parts(name: str) -> tuple[str, str]:
    """("layer", "kernel") of "net/layer/kernel"; ("", "w") of "w"."""
    parts = re.split(r"[./]", name)
    return (parts[-2] if len(parts) > 1 else ""), parts[-1]


def _own(name: str) -> str:
    """What a tensor or, where it is called weight or the like, its layer is called, in small letters."""
    layer, last = _parts(name.lower())
    return layer if last in ("weight", "kernel", "w") else last


def _no_matrix(name: str, tensor: np.ndarray) -> str | None:
    """Why a tensor is no matrix of weights at all."""
    if tensor.ndim < 2:
        return "not a matrix"
    if not (tensor.dtype.kind == "f" or tensor.dtype.name == "bfloat16"):
        return f"{tensor.dtype} numbers"
    if tensor.size == 0:
        return "empty"
    return "a bias" if _parts(name)[1] == "bias" else None


def _no_product(name: str, tensors: Mapping[str, np.ndarray]) -> str | None:
    """Why nothing is multiplied with a matrix, going by its name; None if it is, as far as one can tell."""
    last = _parts(name)[1]
    if _PART.match(last):
        return "a part of a reparametrised weight, not the weight itself"
    if _bias(name, tensors) is not None or tensors[name].ndim > 3:
        return None
    own = _own(name)
    if _EMBEDDING.search(own) or (own == last and tensors[name].ndim == 3 and tensors[name].shape[0] == 1):
        return "looked up or added, not multiplied"
    return None


def _bias(name: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The bias beside a matrix, if there is one."""
    last = _parts(name)[1]
    partner = "b" if last == "w" else re.sub("weight|kernel", "bias", last)
    return None if partner == last else tensors.get(name[: len(name) - len(last)] + partner)


def _outputs(name: str, tensors: Mapping[str, np.ndarray]) -> int:
    """How many of a JAX kernel's last axes are outputs: as many as its bias has; two of attention's projections."""
    bias, shape = _bias(name, tensors), tensors[name].shape
    if bias is not None and 0 < bias.ndim < len(shape) and shape[-bias.ndim :] == bias.shape:
        return bias.ndim
    return 2 if len(shape) == 3 and _parts(name)[0] in ("query", "key", "value") else 1


# -------------------------------------------------------------------------------------------- layouts


def _layouts(path: Path, names: Sequence[str], tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The layout of every matrix and what told it, or a ``ValueError`` that says what to pass."""
    found = {name: told for name in names if (told := _layout(path, name, tensors))}
    said = {told.split(",")[0] for told in found.values() if not told.endswith("embedding")} or {"jax"}
    for name in names:
        if name not in found and (path.suffix.lower() == ".safetensors" or len(said) > 1):
            raise ValueError(
                f"{path.name}: neither name nor bias tells whether {name!r} of shape {tensors[name].shape} is "
                "(out, in, …) or (…, in, out): pass --layout torch or --layout jax, or leave it out by --exclude"
            )
    return {name: found.get(name, f"{next(iter(said))}, assumed") for name in names}


def _layout(path: Path, name: str, tensors: Mapping[str, np.ndarray]) -> str | None:
    """The layout of one matrix and what told it, None if nothing does."""
    last, bias, shape = _parts(name)[1], _bias(name, tensors), tensors[name].shape
    if bias is None and len(shape) == 2 and _EMBEDDING.search(_own(name)):
        return "jax, as an embedding"  # a token is a full signal on one word line
    called = "torch" if "weight" in last else "jax" if last == "kernel" else None
    if bias is not None and bias.ndim == 1:
        fitting = [layout for layout, size in (("torch", shape[0]), ("jax", shape[-1])) if size == bias.size]
        if called and called not in fitting:
            raise ValueError(
                f"{path.name}: {name!r} is called as in {called}'s layout, but its shape is {shape} and its bias has "
                f"{bias.size} numbers: pass --layout torch or --layout jax, or leave it out by --exclude"
            )
        if not called and len(fitting) == 1:
            return f"{fitting[0]}, by its bias"
    return called and f"{called}, by its name"


def _matching(option: str, patterns: Sequence[str], names: Sequence[str], path: Path) -> set[str]:
    """The names in which one of the patterns is found."""
    found: set[str] = set()
    for pattern in patterns:
        try:
            hits = {name for name in names if re.search(pattern, name)}
        except re.error as error:
            raise ValueError(f"--{option} {pattern!r} is not a regular expression: {error}") from error
        if not hits:
            raise ValueError(f"--{option} {pattern!r} matches no matrix of {path.name}: it has {_some(names)}")
        found |= hits
    return found


def _some(names: Mapping[str, str] | Sequence[str]) -> str:
    reasons = [f"{name!r}: {names[name]}" if isinstance(names, Mapping) else repr(name) for name in names]
    return ", ".join(reasons[:6]) + (f" and {len(reasons) - 6} more" if len(reasons) > 6 else "")
