"""Image data sets in their publishers' layouts, checked against their digests, and what networks make of the bytes.

A network has one `Pipeline` from bytes to its inputs, for training, test and calibration alike. Small `digits` come
with the package.

A folder (``--data`` or the environment variable ``CROSSJAX_DATA``) holds what the publishers' archives unpack to:

    cifar-10-batches-py/{data_batch_1..5,test_batch}     https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
    MNIST/raw/*-ubyte.gz                                 https://ossci-datasets.s3.amazonaws.com/mnist/
    FashionMNIST/raw/*-ubyte.gz                          https://github.com/zalandoresearch/fashion-mnist
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import pickle
import pickletools
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._random import named
from crossjax.tensors import BadFileError, door

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation, as torchvision's networks expect
CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # mean; deviation within an image, the usual choice

_CIFAR10 = {  # SHA-256 of the pixels followed by the labels, one byte each
    "data_batch_1": "ba52cb2d72c412975d7556bb26bd094956f1c002d1937053f6f1252f2ac17114",
    "data_batch_2": "350ff9000489d02f2568c0dcf4912ffdbae9e50932147905fb1b8159ad54f0ac",
    "data_batch_3": "a2b8653fc457df407af6c38b7e0d1a12530f3b5f81fce9f81516efd065daf722",
    "data_batch_4": "133e6292c377755074c305db8a684d48d5397372cb0aba34f52b4335eab35d97",
    "data_batch_5": "eb08cdc11fd1267ef871cf4790f193684b3f556d13317be68f4eb374a078ea87",
    "test_batch": "9a4c74f5c8b6f2c4e13d3a1dfb43a5a8cda8a9da515e99fd620d2013a1a6287a",
}
_MNIST = {  # SHA-256 of the unpacked files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
_FASHION = {  # MD5 of the packed files, as published
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}
_LARGEST = 47_040_016  # bytes of the largest of these files, unpacked


@dataclasses.dataclass(frozen=True)
class Images:
    """Training and test images (n, height, width, channels) as bytes, and labels (n,)."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def cifar10(folder: str | Path | None = None) -> Images:
    """CIFAR-10 (Krizhevsky, 2009): 50,000 and 10,000 images of 32 × 32 × 3, from ``cifar-10-batches-py``.

    Raises:
        FileNotFoundError: if a file is not there; says which, and where it comes from.
        ValueError: if a file is damaged.
    """
    base = data_folder(
        folder, "cifar-10-batches-py", _CIFAR10, "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    )
    parts = {name: _cifar_batch(base / name, digest) for name, digest in _CIFAR10.items()}
    training = [parts[name] for name in parts if name != "test_batch"]
    return Images(
        (np.concatenate([x for x, _ in training]), np.concatenate([y for _, y in training])), parts["test_batch"]
    )


def mnist(folder: str | Path | None = None) -> Images:
    """MNIST (LeCun et al., 1998): 60,000 and 10,000 images of 28 × 28 × 1, from ``MNIST/raw``; errors as `cifar10`."""
    return _idx_set(folder, "MNIST/raw", _MNIST, "https://ossci-datasets.s3.amazonaws.com/mnist/", packed=False)


def fashion_mnist(folder: str | Path | None = None) -> Images:
    """Fashion-MNIST (Xiao et al., 2017), in the form of MNIST, from ``FashionMNIST/raw``; errors as `cifar10`."""
    source = "https://github.com/zalandoresearch/fashion-mnist"
    return _idx_set(folder, "FashionMNIST/raw", _FASHION, source, packed=True)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 handwritten digits: images (n, 64) in [0, 1] and labels (n,).

    The test set of "Optical recognition of handwritten digits" (Alpaydin and Kaynak, UCI, 1998; CC BY 4.0), the one
    that scikit-learn ships.
    """
    with (resources.files("crossjax") / "included" / "digits.npz").open("rb") as file, np.load(file) as d:
        return d["images"].astype(np.float32) / 16, d["labels"].astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """From bytes (n, height, width, channels) to a network's inputs, floats of the same shape.

        augment on bytes (black border) ──► (x / 255 − mean) / std ──► cut holes (of the mean colour)

    Batch norms keep the statistics of what `training` gives, border and holes included: refresh them (AdaBS,
    `crossjax.nn.adabs`) with batches of the same pipeline, or the network loses accuracy that no chip took.

    Attributes:
        mean, std: of each channel, of values in [0, 1].
        border: crops come from the image with a border of so many pixels: shifts of up to ± border each way.
        flip: mirror half of the images.
        cutout: side of the square hole in pixels; 0: none. It is cut after normalising and filled with 0, the mean
            colour, which hardly moves the statistics (DeVries & Taylor, arXiv 1708.04552).
        grey: crop after normalising instead, which leaves a border of the mean colour, not of black. PyTorch's usual
            transforms crop bytes; this is for networks that were trained otherwise.

    Raises:
        ValueError: for a border or hole below 0, a deviation that is not positive, or channels that do not agree.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    border: int = 4
    flip: bool = True
    cutout: int = 0
    grey: bool = False

    def __post_init__(self) -> None:
        if self.border < 0 or self.cutout < 0:
            raise ValueError(f"border and cutout must be at least 0 pixels, got {self.border} and {self.cutout}")
        if len(self.mean) != len(self.std) or not all(s > 0 for s in self.std):
            raise ValueError(f"mean and std need one number a channel, std > 0; got {self.mean} and {self.std}")

    def training(self, key: Array, images: np.ndarray | Array) -> Array:
        """A training batch: augmented, as the network sees it. A pure function, the ``prepare`` of `training.fit`."""
        if self.grey:
            moved = augment(key, self.test(images), border=self.border, flip=self.flip)
        else:
            moved = self.test(augment(key, jnp.asarray(images), border=self.border, flip=self.flip))
        return cutout(key, moved, self.cutout)

    def test(self, images: np.ndarray | Array) -> Array:
        """Test images: normalised, nothing else."""
        return (jnp.asarray(images, jnp.float32) / 255.0 - jnp.asarray(self.mean)) / jnp.asarray(self.std)

    def calibration(self, key: Array, images: np.ndarray, batches: int = 13, size: int = 200) -> Array:
        """Batches for `crossjax.nn.adabs`, (batches, size, h, w, c): training images drawn at random, no two the same.

        They go through `training`. The defaults are those of Joshi et al. (2020) for CIFAR-10.

        Raises:
            ValueError: if there are fewer images than asked for.
        """
        if not 0 < batches * size <= len(images):
            raise ValueError(f"{batches} batches of {size} images cannot be drawn from {len(images)}")
        which = np.asarray(jax.random.permutation(named(key, "which"), len(images)))[: batches * size]
        x = self.training(named(key, "augment"), images[which])
        return x.reshape(batches, size, *x.shape[1:])


def augment(key: Array, images: Array, *, border: int = 4, flip: bool = True) -> Array:
    """A random crop of each image (n, h, w, c) from a border of zeros, mirrored or not; keeps size and type.

    The border is black only around bytes: around normalised images zero is the mean colour. A pure function.
    """
    batch, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (border, border), (border, border), (0, 0)))
    rows, cols = jax.random.randint(named(key, "shift"), (2, batch), 0, 2 * border + 1)
    flipped = jax.random.bernoulli(named(key, "flip"), 0.5, (batch,)) & flip
    r = rows[:, None] + jnp.arange(height)
    c = jnp.where(flipped[:, None], jnp.arange(width)[::-1], jnp.arange(width)) + cols[:, None]
    return padded[jnp.arange(batch)[:, None, None], r[:, :, None], c[:, None, :]]


def cutout(key: Array, images: Array, side: int) -> Array:
    """One square hole of 0 at a random place, ``side`` pixels wide, in each image (n, h, w, c). A pure function.

    Its centre is uniform over the image, so holes at the edge are smaller; an even side gives ``side`` − 1 pixels.
    Give it normalised images, where 0 is the mean colour.
    """
    if side == 0:
        return images
    batch, height, width, _ = images.shape
    centre = jax.random.randint(named(key, "cutout"), (2, batch, 1), 0, jnp.asarray([height, width])[:, None, None])
    hole = [jnp.abs(jnp.arange(n) - at) * 2 < side for n, at in zip((height, width), centre, strict=True)]
    return jnp.where((hole[0][:, :, None] & hole[1][:, None, :])[..., None], 0, images)


# --------------------------------------------------------------------------------------------------- files


def data_folder(folder: str | Path | None, layout: str, names: dict[str, str], source: str, ending: str = "") -> Path:
    """Where the files ``names`` of a data set lie.

    Raises:
        FileNotFoundError: if no folder is named, or it lacks one; says which, and where they come from.
    """
    given = folder or os.environ.get("CROSSJAX_DATA")
    if not given:
        raise FileNotFoundError(
            f"no data folder: name one by --data or CROSSJAX_DATA; it must hold {layout}/ with "
            f"{', '.join(n + ending for n in names)} (from {source})"
        )
    base = Path(given) / layout
    missing = [n + ending for n in names if not (base / (n + ending)).is_file()]
    if missing:
        raise FileNotFoundError(f"{base} lacks {', '.join(missing)}: get them from {source}")
    return base


_PICKLED = {  # all that a pickled array needs, by the names that Python 2 and NumPy 1 and 2 give it
    ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"), ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"), ("_codecs", "encode"),
}  # fmt: skip


class _Arrays(pickle.Unpickler):
    """Pickles of NumPy arrays, and nothing else that a file could make Python run."""

    def __init__(self, content: bytes) -> None:
        for opcode, argument, _ in pickletools.genops(content):  # which also finds lengths beyond the end
            if "PUT" in opcode.name and int(argument or 0) > len(content):  # else memory for as many objects is taken
                raise pickle.UnpicklingError(f"it numbers an object {argument}")
        super().__init__(io.BytesIO(content), encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PICKLED:
            raise pickle.UnpicklingError(f"it wants {module}.{name}")
        return super().find_class(module, name)


def _cifar_batch(path: Path, digest: str) -> tuple[np.ndarray, np.ndarray]:
    with door(path, "a CIFAR-10 batch"):
        batch = _Arrays(path.read_bytes()).load()
        data = np.ascontiguousarray(batch[b"data"], np.uint8)
        labels = np.asarray(batch[b"labels"], np.uint8)
        if hashlib.sha256(data.tobytes() + labels.tobytes()).hexdigest() != digest:
            raise BadFileError("is not the published file (its pixels and labels have another digest): unpack it again")
        return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels.astype(np.int32)


def _idx_set(folder: str | Path | None, layout: str, names: dict[str, str], source: str, *, packed: bool) -> Images:
    base = data_folder(folder, layout, names, source, ".gz")
    a, b, c, d = (_idx(base / f"{name}.gz", digest, packed) for name, digest in names.items())
    return Images((a[..., None], b.astype(np.int32)), (c[..., None], d.astype(np.int32)))


def _idx(path: Path, digest: str, packed: bool) -> np.ndarray:
    with door(path, "a gzip file"):
        raw = path.read_bytes()
        with gzip.open(io.BytesIO(raw)) as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise BadFileError(
                f"unpacks to more than {_LARGEST:,} bytes, which no published file does: download it again"
            )
        if (hashlib.md5(raw) if packed else hashlib.sha256(content)).hexdigest() != digest:
            raise BadFileError("is not the published file (it has another digest): download it again")
        axes = content[3]
        shape = np.frombuffer(content, ">i4", count=axes, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
