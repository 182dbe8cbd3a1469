"""Arrays out of files that others made: .npy, .npz and .safetensors, read with suspicion.

Nothing in a file is executed, and nothing is read before its declared size is compared with the file's own. Whatever
goes wrong inside, and libraries raise many kinds, leaves by one door: a `BadFileError` of one line that names the file.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

KINDS = (".npz", ".npy", ".safetensors")
UNPACKED = 256 * 2**20  # bytes that an archive may unpack to without question; beyond it, RATIO times its own size
RATIO = 100
BLANK = "0" * 64  # what metadata["sha256"] is while the digest of a file is taken


class BadFileError(ValueError):
    """A file that cannot be used; says which and why in one line (inside `door`, the line without the name)."""


@contextmanager
def door(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever is raised while ``path`` is read into a `BadFileError`; errors of the system itself pass.

    Args:
        path: the file.
        kind: what it should be, as in "not a .npy file", with its article.
    """
    try:
        yield
    except BadFileError as error:
        raise BadFileError(f"{path} {error}") from error
    except Exception as error:  # zlib.error, TokenError, MemoryError, SafetensorError and others with no common base
        if isinstance(error, OSError) and error.errno is not None:
            raise
        why = " ".join(str(error).split())[:300] or type(error).__name__
        if isinstance(error, MemoryError):
            raise BadFileError(f"{path} does not fit into memory: {why}") from error
        raise BadFileError(f"{path} is truncated or not {kind}: {why}") from error


def read_tensors(path: Path, kinds: tuple[str, ...] = KINDS) -> dict[str, np.ndarray]:
    """All arrays of a weight file, by name.

    Raises:
        OSError: if there is no such file, or the system cannot read it.
        ValueError: if it is of another kind, damaged, larger inside than it says or than it may be (an archive may
            unpack to 256 MiB, or to 100 times its size), or holds numbers that NumPy has no type for.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weight file at {path}")
    kind = path.suffix.lower()
    if kind not in kinds:
        raise ValueError(f"{path.name}: weights are read from {' or '.join(kinds)} files, not {kind or 'this'}")
    with door(path, f"a {kind} file"):
        if kind == ".npy":
            with path.open("rb") as stream:
                return {path.stem: _npy(stream, path.stat().st_size)}
        return _npz(path) if kind == ".npz" else _safetensors(path)


def _npy(stream: IO[bytes], size: int) -> np.ndarray:
    """One array of a stream of ``size`` bytes, which must be exactly what its header announces."""
    version = np.lib.format.read_magic(stream)
    if version > (2, 0):
        raise BadFileError("has a header for records of named fields, which are no weights")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("its array is of pickled Python objects")
    declared, there = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if declared != there or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape} of {dtype} takes {declared:,} bytes, and {there:,} are there")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def _npz(path: Path) -> dict[str, np.ndarray]:
    found = {}
    with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        size, limit = sum(m.file_size for m in members), max(UNPACKED, RATIO * path.stat().st_size)
        if size > limit:
            raise BadFileError(
                f"unpacks to {size / 2**20:,.0f} MiB, more than the {limit / 2**20:,.0f} MiB that are allowed for "
                "an archive of its size: if you trust it, unpack it and give its .npy files"
            )
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name == member.filename or name in found:
                raise BadFileError(f"has a member {member.filename!r} that is there twice or is no .npy array")
            if member.flag_bits & 1:
                raise BadFileError(f"has an encrypted member {member.filename!r}: unpack it first")
            with archive.open(member) as inner:
                found[name] = _npy(inner, member.file_size)
    return found


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import safe_open

    found = {}
    unsealed(path)
    with safe_open(path, framework="numpy") as archive:
        for name in archive.keys():
            kind: str = archive.get_slice(name).get_dtype()
            if kind.startswith(("F8", "F4", "F6")):
                raise BadFileError(f"holds {kind} numbers in {name!r}, which NumPy has no type for: convert it to F32")
            found[name] = archive.get_tensor(name)
    return found


def seal(path: Path) -> None:
    """Put the SHA-256 of a .safetensors file into its metadata, where `BLANK` stands for it."""
    with path.open("r+b") as stream:
        header, _ = _header(stream, path.stat().st_size)
        digest = _digest(header, stream)
        stream.seek(0)
        stream.write(header.replace(_mark(BLANK), _mark(digest)))


def unsealed(path: Path) -> dict[str, str]:
    """The metadata of a .safetensors file; of a sealed one, only if not a bit of the file has changed since."""
    with path.open("rb") as stream:
        header, metadata = _header(stream, path.stat().st_size)
        sealed = metadata.get("sha256")
        if sealed is not None and _digest(header.replace(_mark(sealed), _mark(BLANK)), stream) != sealed:
            raise BadFileError("is damaged: it is not what was saved (its SHA-256 differs)")
    return metadata


def _header(stream: IO[bytes], size: int) -> tuple[bytes, dict[str, str]]:
    """The first bytes of a .safetensors file of ``size`` bytes, up to its arrays, and the metadata in them."""
    start = stream.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise ValueError("its header is longer than itself")
    header = stream.read(length)
    return start + header, json.loads(header).get("__metadata__", {})


def _digest(header: bytes, rest: IO[bytes]) -> str:
    digest = hashlib.sha256(header)
    while block := rest.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def _mark(digest: str) -> bytes:
    return f'"sha256":"{digest}"'.encode()
