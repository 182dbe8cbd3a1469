"""Image data sets: what is read is what was published; and augmentation."""

import dataclasses
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


def test_normalisation():
    white = images.Pipeline(*images.IMAGENET).test(np.full((1, 2, 2, 3), 255, np.uint8))
    np.testing.assert_allclose(white[0, 0, 0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], 1e-5)


def test_augmentation_moves_and_flips(key):
    x = 1.0 + jnp.arange(2000 * 8 * 8 * 1, dtype=jnp.float32).reshape(2000, 8, 8, 1) % 64
    same = images.augment(key, x, border=0, flip=False)
    np.testing.assert_array_equal(same, x)
    flipped = images.augment(key, x, border=0)
    mirrored = (flipped == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert bool((mirrored | (flipped == x).all(axis=(1, 2, 3))).all()) and 0.45 < float(mirrored.mean()) < 0.55
    moved = images.augment(key, x, border=2, flip=False)
    shifts = {tuple(np.argwhere(np.asarray(m[:, :, 0]) == 28)[0] - np.array([3, 3])) for m in moved[:400]}
    assert shifts == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}
    assert images.augment(key, x.astype(jnp.uint8)).dtype == jnp.uint8


def test_cutout_is_one_hole_of_zeros(key):
    x = 1.0 + jnp.arange(2000 * 8 * 8 * 1, dtype=jnp.float32).reshape(2000, 8, 8, 1) % 64
    cut = images.cutout(key, x, 4)
    holes = (cut == 0).sum(axis=(1, 2, 3))
    assert int(holes.max()) == 9 and int(holes.min()) >= 4 and bool(jnp.where(cut == 0, True, cut == x).all())
    assert images.cutout(key, x, 0) is x


# ------------------------------------------------------------------------- one pipeline for all uses

WHITE = np.full((400, 8, 8, 2), 255, np.uint8)
PIPELINE = images.Pipeline((0.5, 0.4), (0.2, 0.25), border=3, cutout=4)
LEVELS = {"white": (2.5, 2.4), "black": (-2.5, -1.6), "mean": (0.0, 0.0)}  # inputs of either channel


def colours(x):
    """How much of (…, 2) has each level, and that nothing else is there."""
    share = {n: float(np.isclose(np.asarray(x), level, atol=1e-5).all(-1).mean()) for n, level in LEVELS.items()}
    assert sum(share.values()) == pytest.approx(1)
    return share


def test_the_border_is_black_as_bytes_are_and_the_hole_has_the_mean_colour(key):
    plain, training = colours(PIPELINE.test(WHITE)), colours(PIPELINE.training(key, WHITE))
    assert plain["white"] == 1
    assert training["black"] > 0.2 and 0.05 < training["mean"] < 9 / 64
    border = colours(dataclasses.replace(PIPELINE, cutout=0).training(key, WHITE))
    assert border["mean"] == 0 and border["black"] == pytest.approx(1 - (1 - 12 / 7 / 8) ** 2, abs=0.02)
    grey = colours(dataclasses.replace(PIPELINE, cutout=0, grey=True).training(key, WHITE))
    assert grey == {"white": border["white"], "black": 0.0, "mean": border["black"]}
    jitted = jax.jit(PIPELINE.training)(key, WHITE)
    np.testing.assert_allclose(jitted, PIPELINE.training(key, WHITE), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_calibration_batches_are_training_batches(key):
    x = np.random.default_rng(0).integers(0, 256, (1000, 8, 8, 2), np.uint8)
    batches = PIPELINE.calibration(key, x, batches=4, size=200)
    assert batches.shape == (4, 200, 8, 8, 2)
    seen = PIPELINE.training(jax.random.key(1), x)
    black = [float(np.isclose(np.asarray(b), LEVELS["black"], atol=1e-5).all(-1).mean()) for b in (*batches, seen)]
    np.testing.assert_allclose(black[:4], black[4], rtol=0.15)
    for b in batches:
        np.testing.assert_allclose(b.mean((0, 1, 2)), seen.mean((0, 1, 2)), atol=0.08)
        np.testing.assert_allclose(b.std((0, 1, 2)), seen.std((0, 1, 2)), rtol=0.05)


def test_calibration_images_are_drawn_from_all_over_and_once(key):
    x = np.repeat(np.arange(250, dtype=np.uint8), 4).reshape(250, 2, 2, 1)  # each its number, in order
    plain = images.Pipeline((0.0,), (1.0,), border=0, flip=False)
    drawn = np.rint(255 * np.asarray(plain.calibration(key, x, batches=5, size=40))[:, :, 0, 0, 0]).astype(int)
    assert len(set(drawn.ravel())) == 200 and all(b.min() < 50 and b.max() > 200 for b in drawn)
    with pytest.raises(ValueError, match="13 batches of 200 images cannot be drawn from 250"):
        plain.calibration(key, x)


def test_pipelines_that_are_refused():
    with pytest.raises(ValueError, match="border and cutout"):
        images.Pipeline((0.5,), (0.2,), border=-1)
    for bad in ({"mean": (0.5,), "std": (0.2, 0.2)}, {"mean": (0.5,), "std": (0.0,)}):
        with pytest.raises(ValueError, match="one number a channel"):
            images.Pipeline(**bad)
