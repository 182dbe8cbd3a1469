"""What the CIFAR-10 experiments share: the pipelines of their networks, trained networks, and chips over time."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array, lax

from crossjax import images, nn, training
from crossjax._random import named
from crossjax.papers.options import Options
from crossjax.tensors import read_tensors

COMPENSATIONS = ("none", "gdc", "adabs")
YEAR = 365 * 86400.0


IMPORTED = images.Pipeline(*images.CIFAR10, border=8)
"""What the published ResNets were trained with, as inferred from their parameters: nobody published it.

The first batch norm holds the mean and variance of about one training batch behind the first convolution. Black
borders of 0 to 12 pixels, grey ones, cutout, and ImageNet's and CIFAR-10's normalisation were compared with it. Plain
images with ImageNet's normalisation leave its means off by 0.20 (ResNet-20) and 0.17 (ResNet-32) standard deviations
and its variances × 0.60 and 0.66; this pipeline by 0.04 and 0.06, × 1.03 and 1.13, where one batch of 128 scatters by
0.02. The best border is 9 pixels for one and 6 for the other. The accuracy on test images does not tell: 91.05 % of
2,000 against 91.00 % with ImageNet's normalisation.
"""

TRAINED = images.Pipeline(*images.CIFAR10, border=2)
"""What ResNets are trained with here from scratch: Joshi et al. (2020) crop from 2 pixels; their cutout is left out."""

RESNET9 = images.Pipeline(*images.IMAGENET, border=4, cutout=8)
"""What ResNet-9 is trained with here."""

INCLUDED_RESNET9 = dataclasses.replace(RESNET9, grey=True)
"""What the included ResNet-9 was trained with: its crops came after normalising, from a grey border."""


@dataclasses.dataclass(frozen=True)
class CifarOptions(Options):
    """What the papers on CIFAR-10 have.

    Attributes:
        data: folder with cifar-10-batches-py (default: the environment variable CROSSJAX_DATA).
        weights: a trained network.
        chips: instead of the preset's number of chips.
        images: instead of the preset's number of test images.
        steps: instead of the preset's number of training steps.
        studies: the studies beside the main result.

    Raises:
        ValueError: for a number below 1.
    """

    data: Path | None = None
    weights: Path | None = None
    chips: int | None = None
    images: int | None = None
    steps: int | None = None
    studies: bool = True

    def __post_init__(self) -> None:
        for name in ("chips", "images", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


@dataclasses.dataclass(frozen=True)
class Cifar:
    """CIFAR-10 as one network sees it.

    Attributes:
        data: the bytes.
        pipeline: of the network.
        batches, size: of the calibration images.
        test: test images as the network's inputs (n, 32, 32, 3), and labels.
        calibration: batches for AdaBS (batches, size, 32, 32, 3), the same for every chip and seed.
    """

    data: images.Images
    pipeline: images.Pipeline
    batches: int = 13
    size: int = 200
    test: tuple[Array, Array] = dataclasses.field(init=False)
    calibration: Array = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        bytes_, labels = self.data.test
        object.__setattr__(self, "test", (self.pipeline.test(bytes_), jnp.asarray(labels)))
        drawn = self.pipeline.calibration(jax.random.key(0), self.data.train[0], self.batches, self.size)
        object.__setattr__(self, "calibration", drawn)

    @property
    def train(self) -> tuple[np.ndarray, np.ndarray]:
        """Training images as bytes, and labels: to be trained on with ``prepare=cifar.pipeline.training``."""
        return self.data.train

    @property
    def digest(self) -> str:
        """SHA-256 of all images and labels: what a run is repeated with."""
        found = hashlib.sha256()
        for array in (*self.data.train, *self.data.test):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    @classmethod
    def load(cls, folder: Path | None, pipeline: images.Pipeline, test_images: int) -> Cifar:
        """All training images and the first ``test_images`` of the test set.

        Raises:
            ValueError: if there are not so many, or a file is damaged.
            FileNotFoundError: if the data set is not there.
        """
        data = images.cifar10(folder)
        if not 0 < test_images <= len(data.test[0]):
            raise ValueError(f"images must be between 1 and {len(data.test[0])}, got {test_images}")
        return cls(images.Images(data.train, (data.test[0][:test_images], data.test[1][:test_images])), pipeline)


def published_resnet(path: Path | None) -> nn.models.ResNet:
    """A trained CIFAR ResNet of any depth with PyTorch names; None for the ResNet-20 that comes with the package.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a network.
    """
    if path is None:
        with resources.as_file(resources.files("crossjax") / "included" / "resnet20_cifar10.safetensors") as file:
            return published_resnet(file)
    shapes = {name: tensor.shape for name, tensor in read_tensors(Path(path), (".safetensors",)).items()}
    blocks = [sum(f"res{s}.{k}.conv1.weight" in shapes for k in range(99)) for s in (1, 2, 3)]
    first = [shapes.get(f"res{s}.0.conv1.weight", ()) for s in (1, 2, 3)]
    if len(set(blocks)) > 1 or any(len(shape) != 4 for shape in first):
        raise ValueError(
            f"{Path(path).name} is not a CIFAR ResNet: it has {blocks} blocks called res1.*, res2.*, res3.*"
        )
    widths = [shape[0] for shape in first]
    model = nn.models.ResNet(6 * blocks[0] + 2, widths, epsilon=1e-3, rngs=nnx.Rngs(0))
    return nn.load_torch(model, path, {"classifier": "classifier.2"})


def digital_accuracy(model: nnx.Module, test: tuple[Array, Array], calibration: Array | None = None) -> float:
    """Accuracy of the network without any hardware; after AdaBS, if calibration batches are given.

    The difference is what AdaBS costs by itself: little, if the batches are like those of training.
    """
    model = nn.digital(model)
    model.eval()
    graph, state = nnx.split(model)

    @jax.jit
    def run(state: Any) -> Array:
        net = nnx.merge(graph, state)
        return nn.accuracy(net if calibration is None else nn.adabs(net, calibration), *test)

    return float(run(state))


def sgd(rate: Any, clip: float | None, decay: float = 1e-4) -> optax.GradientTransformation:
    """SGD with momentum 0.9 and weight decay, then weight clipping at ± ``clip`` standard deviations."""
    parts = [optax.add_decayed_weights(decay), optax.sgd(rate, momentum=0.9)]
    return optax.chain(*parts, *([] if clip is None else [training.clip_weights(clip)]))


class OverTime:
    """Accuracy of a network on chips at several times, without compensation, with GDC, and with AdaBS.

    ``__call__`` programs one chip and follows it.
    """

    def __init__(self, model: nnx.Module, data: Cifar, times: Sequence[float]) -> None:
        model = nnx.clone(model)
        model.eval()
        self.graph, self.state = nnx.split(model)
        self.data = jnp.asarray(times, jnp.float32), data.calibration, data.test

    def __call__(self, key: Array) -> dict[str, Any]:
        """Accuracies of one chip by compensation, a list over times."""
        found = _followed(self.graph, self.state, key, *self.data)
        return dict(zip(COMPENSATIONS, np.asarray(found).tolist(), strict=True))


@partial(jax.jit, static_argnums=0)
def _followed(graph: Any, state: Any, key: Array, times: Array, calibration: Array, test: tuple[Array, Array]) -> Array:
    """Accuracies (compensations, times); compiled once for all networks of one structure."""
    chip, _ = nn.program(named(key, "program"), nnx.merge(graph, state))

    def at(now: tuple[Array, Array]) -> Array:
        key, t = now
        bare, gdc = (nn.read(key, chip, t, compensate=compensate) for compensate in (False, True))
        nets = [nnx.split(net) for net in (bare, gdc, nn.adabs(gdc, calibration))]
        states = jax.tree.map(lambda *s: jnp.stack(s), *(_data(state) for _, state in nets))
        return lax.map(lambda s: nn.accuracy(nnx.merge(nets[0][0], _state(nets[0][1], s)), *test), states)

    return lax.map(at, (jax.random.split(named(key, "times"), len(times)), times)).T


def _data(state: Any) -> list[Array]:
    """Leaves of a state, keys as numbers so that they can be stacked."""
    return [
        jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a for a in jax.tree.leaves(state)
    ]


def _state(like: Any, leaves: list[Array]) -> Any:
    old, structure = jax.tree.flatten(like)
    new = [
        jax.random.wrap_key_data(a) if jnp.issubdtype(b.dtype, jax.dtypes.prng_key) else a
        for a, b in zip(leaves, old, strict=True)
    ]
    return jax.tree.unflatten(structure, new)
