"""Image data sets: what is read is what was published; and augmentation."""

import gzip
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crossjax import images


def test_without_a_folder_the_message_says_what_and_where_from(monkeypatch, tmp_path):
    monkeypatch.delenv("CROSSJAX_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"CROSSJAX_DATA.*data_batch_1.*kriz"):
        images.cifar10()
    with pytest.raises(FileNotFoundError, match=r"lacks train-images-idx3-ubyte\.gz.*mnist"):
        images.mnist(tmp_path)
    monkeypatch.setenv("CROSSJAX_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="FashionMNIST"):
        images.fashion_mnist()


class Evil:
    def __reduce__(self):
        return (os.system, ("true",))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "truncated"),
        (pickle.dumps({b"labels": [1]}), "truncated or not a CIFAR-10 batch"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2]}), "not the published file"),
        (pickle.dumps(Evil()), "it wants"),
    ],
)
def test_damaged_cifar_batches(tmp_path, content, why):
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    for name in images._CIFAR10:
        (base / name).write_bytes(content)
    with pytest.raises(ValueError, match=why):
        images.cifar10(tmp_path)


def test_damaged_idx_files(tmp_path):
    base = tmp_path / "MNIST" / "raw"
    base.mkdir(parents=True)
    for name in images._MNIST:
        (base / f"{name}.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x01\x05"))
    with pytest.raises(ValueError, match="not the published file"):
        images.mnist(tmp_path)
    (base / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(ValueError, match="truncated"):
        images.mnist(tmp_path)


@pytest.mark.skipif("CROSSJAX_DATA" not in os.environ, reason="needs the data sets")
def test_published_data():
    cifar, mnist = images.cifar10(), images.mnist()
    assert cifar.train[0].shape == (50000, 32, 32, 3) and cifar.test[1].shape == (10000,)
    assert np.bincount(cifar.train[1]).tolist() == [5000] * 10 and cifar.train[1][0] == 6
    assert mnist.train[0].shape == (60000, 28, 28, 1) and mnist.test[1][0] == 7


def test_normalisation_is_that_of_imagenet():
    white = images.normalised(np.full((1, 2, 2, 3), 255, np.uint8))
    np.testing.assert_allclose(white[0, 0, 0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], 1e-5)


def test_augmentation_moves_flips_and_cuts(key):
    x = 1.0 + jnp.arange(2000 * 8 * 8 * 1, dtype=jnp.float32).reshape(2000, 8, 8, 1) % 64
    same = images.augment(key, x, shift=0, flip=False)
    np.testing.assert_array_equal(same, x)
    flipped = images.augment(key, x, shift=0)
    mirrored = (flipped == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert bool((mirrored | (flipped == x).all(axis=(1, 2, 3))).all()) and 0.45 < float(mirrored.mean()) < 0.55
    moved = images.augment(key, x, shift=2, flip=False)
    shifts = {tuple(np.argwhere(np.asarray(m[:, :, 0]) == 28)[0] - np.array([3, 3])) for m in moved[:400]}
    assert shifts == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}
    cut = images.augment(key, x, shift=0, flip=False, cutout=4)
    holes = (cut == 0).sum(axis=(1, 2, 3))
    assert int(holes.max()) == 9 and int(holes.min()) >= 4 and bool(jnp.where(cut == 0, True, cut == x).all())
    np.testing.assert_array_equal(
        jax.jit(lambda k, x: images.augment(k, x, cutout=4))(key, x), images.augment(key, x, cutout=4)
    )
