"""Data sets of feature vectors, for hyperdimensional computing: spoken letters, activities, languages, time series.

A folder (``--data`` or the environment variable ``CROSSJAX_DATA``) holds, as their publishers have them,

    isolet1560.npz                    x (1560, 617) and y: ISOLET of scikit-feature (Fanty and Cole, UCI, CC BY 4.0)
    languages21.json.xz               21 languages: text to train with, sentences to test (Wortschatz, Europarl)
    isolet/isolet1+2+3+4.data, isolet5.data                      ISOLET, whole, https://archive.ics.uci.edu/dataset/54
    UCI HAR Dataset/{train,test}/{X,y}_{train,test}.txt          activities, https://archive.ics.uci.edu/dataset/240

Japanese vowels and basic motions come with the package aeon (``pip install 'crossjax[timeseries]'``).
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np

from crossjax.images import data_folder
from crossjax.tensors import BadFileError, door, read_tensors

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
"""Of `languages`: 27 symbols."""

_ISOLET1560 = {"isolet1560.npz": "fce439a05ebeaa0356c3345119abf5e58a8aff136b1b984ed192ae8975e1a4cf"}
_LANGUAGES = {"languages21.json.xz": "0689ab4e0a5aa37ba85e53be2bc44f46fd36f6c94c292f986f2b4085706c1eea"}
_LARGEST = 64_000_000  # bytes that the texts unpack to, at most
_UCI = "https://archive.ics.uci.edu"


@dataclasses.dataclass(frozen=True)
class Features:
    """Feature vectors (n, features) and labels (n,) from 0, to train and to test with."""

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(max(self.train[1].max(), self.test[1].max())) + 1


@dataclasses.dataclass(frozen=True)
class Languages:
    """Texts of 21 languages, as numbers of `ALPHABET`.

    Attributes:
        names: of the languages.
        train: one long text each.
        test: sentences, and
        labels: the language of each, (n,).
    """

    names: tuple[str, ...]
    train: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]
    labels: np.ndarray


def isolet1560(folder: str | Path | None = None, *, fold: int = 0) -> Features:
    """1,560 of the 7,797 spoken letters of ISOLET: 617 features, 26 classes, 30 speakers who said each letter twice.

    Args:
        folder: see above.
        fold: 0 to 3: which quarter of the speakers is the test, 8, 7, 8 or 7 of 30. Within a letter the recordings are
            taken to lie in the order of the speakers, two of each.

    Raises:
        FileNotFoundError: if it is not there; says where it comes from.
        ValueError: if it is damaged, or for a fold that there is not.
    """
    if fold not in range(4):
        raise ValueError(f"fold must be 0, 1, 2 or 3, got {fold}")
    source = "scikit-feature's Isolet.mat, arrays x and y"
    path = data_folder(folder, "", _ISOLET1560, source) / "isolet1560.npz"
    with door(path, "an .npz file"):
        if hashlib.sha256(path.read_bytes()).hexdigest() != _ISOLET1560[path.name]:
            raise BadFileError("is not the known file (it has another digest): get it again")
        found = read_tensors(path)
    x, y = found["x"].astype(np.float32), found["y"].astype(np.int32).ravel() - 1
    test, ends = np.zeros((26, 60), bool), (0, 16, 30, 46, 60)  # the file is sorted by letter
    test[:, ends[fold] : ends[fold + 1]] = True
    test = test.ravel()
    return Features((x[~test], y[~test]), (x[test], y[test]))


def isolet(folder: str | Path | None = None) -> Features:
    """ISOLET in UCI's layout: 6,238 recordings to train with, 1,559 of other speakers to test.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if one is not 617 features and a letter in every line.
    """
    names = {"isolet1+2+3+4.data": "", "isolet5.data": ""}
    base = data_folder(folder, "isolet", names, f"{_UCI}/dataset/54/isolet")

    def part(name: str) -> tuple[np.ndarray, np.ndarray]:
        rows = _numbers(base / name, ",", 618)
        return rows[:, :-1].astype(np.float32), _labels(base / name, rows[:, -1], 26)

    return Features(*(part(name) for name in names))


def har(folder: str | Path | None = None) -> Features:
    """Human activity recognition with smartphones in UCI's layout: 561 features, 6 activities.

    Raises:
        FileNotFoundError: if a file is not there.
        ValueError: if one is not 561 features in every line, or labels from 1 to 6.
    """
    names = {f"{part}/{kind}_{part}.txt": "" for part in ("train", "test") for kind in "Xy"}
    layout = "UCI HAR Dataset"
    base = data_folder(folder, layout, names, f"{_UCI}/dataset/240/human+activity+recognition+using+smartphones")

    def part(name: str) -> tuple[np.ndarray, np.ndarray]:
        x, file = _numbers(base / name / f"X_{name}.txt", None, 561), base / name / f"y_{name}.txt"
        y = _labels(file, _numbers(file, None, 1)[:, 0], 6)
        if len(x) != len(y):
            raise ValueError(f"{file} has {len(y)} labels for {len(x)} examples")
        return x.astype(np.float32), y

    return Features(part("train"), part("test"))


def _numbers(path: Path, delimiter: str | None, columns: int) -> np.ndarray:
    """The numbers of a text file, (lines, columns)."""
    with door(path, "a table of numbers"):
        try:
            rows = np.loadtxt(path, delimiter=delimiter, ndmin=2)
        except ValueError as error:
            raise BadFileError(f"is not a table of numbers: {error}") from None
        if rows.shape[1] != columns or not np.isfinite(rows).all():
            raise BadFileError(f"must have {columns} finite numbers in every line, and has {rows.shape[1]}")
        return rows


def _labels(path: Path, values: np.ndarray, classes: int) -> np.ndarray:
    """Labels from 1 to ``classes`` as ones from 0."""
    if not np.isin(values, np.arange(1, classes + 1)).all():
        raise ValueError(f"{path} must have labels from 1 to {classes}, and has {values.min():g} to {values.max():g}")
    return values.astype(np.int32) - 1


def languages21(folder: str | Path | None = None) -> Languages:
    """21 European languages in the Latin alphabet (the file's 22nd, Afrikaans, has no sentences to test).

    The data of language recognition by hypervectors (Joshi, Halseth and Kanerva, Quantum Interaction, 2016): 21,000
    sentences to test.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged.
    """
    path = data_folder(folder, "", _LANGUAGES, "the texts of Wortschatz Leipzig and Europarl") / "languages21.json.xz"
    with door(path, "an .xz file"):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != _LANGUAGES[path.name]:
            raise BadFileError("is not the known file (it has another digest): get it again")
        found: dict[str, Any] = json.loads(lzma.LZMADecompressor().decompress(content, _LARGEST))
    names = tuple(sorted({name for name, _ in found["test"]}))
    labels = np.array([names.index(name) for name, _ in found["test"]], np.int32)
    train = tuple(symbols(found["train"][name]) for name in names)
    return Languages(names, train, tuple(symbols(text) for _, text in found["test"]), labels)


def symbols(text: str) -> np.ndarray:
    """Text as numbers of `ALPHABET`, (length,): every other character counts as a space, and spaces once in a row."""
    codes = np.frombuffer(text.lower().encode("ascii", "replace"), np.uint8).astype(np.int16) - ord("a") + 1
    codes = np.where((codes >= 1) & (codes <= 26), codes, 0)
    repeated = (codes[1:] == 0) & (codes[:-1] == 0)
    return codes[np.concatenate([[True], ~repeated])] if codes.size else codes


def japanese_vowels() -> Features:
    """Nine speakers by their vowels: 270 and 370 recordings of 12 cepstral coefficients over 7 to 29 frames.

    Kudo, Toyama and Shimbo (1999), UCI; from aeon. Every recording is interpolated to 10 frames: 120 features.

    Raises:
        ImportError: without aeon; says how to get it.
    """

    def vector(series: np.ndarray) -> np.ndarray:
        grid = np.linspace(0.0, 1.0, 10)
        place = np.linspace(0.0, 1.0, series.shape[1])
        return np.concatenate([np.interp(grid, place, channel) for channel in series])

    return _time_series("japanese_vowels", vector)


def basic_motions() -> Features:
    """Four motions of a smart watch: 40 and 40 recordings of 6 channels over 100 samples; from aeon.

    A recording's features are the magnitudes of the spectrum of every channel, logarithmic, 6 × 51: where in the
    recording a step was taken says nothing.

    Raises:
        ImportError: without aeon; says how to get it.
    """

    def vector(series: np.ndarray) -> np.ndarray:
        return np.log1p(np.abs(np.fft.rfft(series, axis=1))).ravel()

    return _time_series("basic_motions", vector)


def _time_series(name: str, vector: Any) -> Features:
    """A data set that aeon ships, every series (channels, length) made a vector, labels numbered."""
    try:
        datasets = importlib.import_module("aeon.datasets")
    except ImportError as error:
        raise ImportError(
            f"{name} comes with the package aeon, which is not installed: pip install 'crossjax[timeseries]'"
        ) from error
    load = getattr(datasets, f"load_{name}")
    parts = [load(split=part) for part in ("train", "test")]
    kinds = sorted({str(label) for _, y in parts for label in y})

    def made(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        vectors = np.stack([vector(np.asarray(series, np.float64)) for series in x]).astype(np.float32)
        return vectors, np.array([kinds.index(str(label)) for label in y], np.int32)

    return Features(*(made(x, y) for x, y in parts))
