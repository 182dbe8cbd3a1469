"""Text data sets in their usual layouts, checked against their digests: words, characters, sentences with a label.

A folder (``--data`` or the environment variable ``CROSSJAX_DATA``) holds

    ptb/ptb.{train,valid,test}.txt    Penn Treebank as preprocessed by Mikolov et al., Interspeech 2010; licensed text
    alice.txt                         Alice's Adventures in Wonderland, Project Gutenberg 11, without its frame
    sst2/sst2.{train,dev,test}.tsv    Stanford Sentiment Treebank (Socher et al., EMNLP 2013), a sentence and 0 or 1

Your own text becomes a `Corpus` by `words` or `characters`.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from crossjax.images import data_folder
from crossjax.tensors import BadFileError, door

END = "<eos>"
UNKNOWN = "<unk>"

_PTB = {
    "ptb.train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "ptb.valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "ptb.test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}
_ALICE = {"alice.txt": "19e40df12fe41dc7b506e00aae31901133d6597eed344da8f6b661e5fc20f2b9"}
_SST2 = {
    "sst2.train.tsv": "920e317b2c52e12cd22db1da2c6708312bd7dc4f3712b9bbf1b50ee6c2c792ba",
    "sst2.dev.tsv": "92353770071a2a889f75d000a38a9e541ea8f0a5499e50f040b17917a5cbf66f",
    "sst2.test.tsv": "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0",
}


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Running text as token numbers (n,), and what the numbers stand for."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    vocabulary: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Sentences as token numbers (n, longest), 0 where one has ended, and labels (n,)."""

    train: tuple[np.ndarray, np.ndarray]
    dev: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    vocabulary: tuple[str, ...]


def penn_treebank(folder: str | Path | None = None) -> Corpus:
    """929,589 + 73,760 + 82,430 words of 10,000 kinds, a line's end being one of them.

    Raises:
        FileNotFoundError: if a file is not there; says which, and where it comes from.
        ValueError: if a file is not the published one.
    """
    source = "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz"
    texts = [_read(path, digest) for path, digest in _files(folder, "ptb", _PTB, source)]
    return words(*texts)


def alice(folder: str | Path | None = None) -> Corpus:
    """144 thousand characters: the first 90 % to train, 5 % each to validate and test; errors as `penn_treebank`."""
    ((path, digest),) = _files(folder, ".", _ALICE, "https://www.gutenberg.org/ebooks/11")
    return characters(_read(path, digest))


def sst2(folder: str | Path | None = None, *, longest: int = 56, rare: int = 2) -> Sentences:
    """60,614 phrases and sentences to train, 6,735 and 872 to develop and test; errors as `penn_treebank`.

    Args:
        folder: see above.
        longest: words of a sentence; later ones are cut.
        rare: words that the training sentences have less often are `UNKNOWN`.
    """
    source = "https://nlp.stanford.edu/sentiment/"
    found = []
    for path, digest in _files(folder, "sst2", _SST2, source):
        with door(path, "a table of sentences"):
            rows = [line.rsplit("\t", 1) for line in _read(path, digest).splitlines()[1:]]
            found.append(([text.split() for text, _ in rows], np.array([int(label) for _, label in rows], np.int32)))
    counts = collections.Counter(word for sentence in found[0][0] for word in sentence)
    vocabulary = ("<pad>", UNKNOWN, *sorted(word for word, n in counts.items() if n >= rare))
    number = {word: k for k, word in enumerate(vocabulary)}

    def padded(sentences: list[list[str]]) -> np.ndarray:
        out = np.zeros((len(sentences), longest), np.int32)
        for row, sentence in zip(out, sentences, strict=True):
            row[: len(sentence)] = [number.get(word, 1) for word in sentence[:longest]]
        return out

    train, dev, test = ((padded(sentences), labels) for sentences, labels in found)
    return Sentences(train, dev, test, vocabulary)


def words(train: str, valid: str, test: str) -> Corpus:
    """Text as words between blanks, every line's end being the word `END`; the vocabulary is that of ``train``.

    Raises:
        ValueError: for a text of less than two words, or a word outside the vocabulary where that has no `UNKNOWN`.
    """
    split = [[w for line in text.splitlines() for w in (*line.split(), END)] for text in (train, valid, test)]
    counts = collections.Counter(split[0])
    vocabulary = tuple(sorted(counts, key=lambda w: (-counts[w], w)))
    return _corpus(split, vocabulary)


def characters(text: str, parts: tuple[float, float] = (0.9, 0.05)) -> Corpus:
    """Text as characters: a part to train, the next to validate, the rest to test; errors as `words`."""
    a, b = int(len(text) * parts[0]), int(len(text) * sum(parts))
    return _corpus([text[:a], text[a:b], text[b:]], tuple(sorted(set(text))))


def encode(tokens: Iterable[str], vocabulary: Sequence[str]) -> np.ndarray:
    """Token numbers (n,).

    Raises:
        ValueError: for tokens outside the vocabulary where that has no `UNKNOWN`; says which.
    """
    number = {token: k for k, token in enumerate(vocabulary)}
    unknown = number.get(UNKNOWN)
    tokens = list(tokens)
    if unknown is None and (strange := sorted({t for t in tokens if t not in number})):
        raise ValueError(f"{len(strange)} tokens are outside the vocabulary of {len(vocabulary)}: {strange[:5]}")
    return np.array([number.get(token, unknown) for token in tokens], np.int32)


def windows(tokens: np.ndarray, streams: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Running text for a network that carries its state on: inputs and next tokens, both (steps · streams, length).

    The text is cut into so many streams that run side by side; ``streams`` rows are one step of all of them, so that a
    batch of ``streams`` rows, taken in order, goes on where the last one ended.

    Raises:
        ValueError: for a text that is too short for one step.
    """
    tokens = np.asarray(tokens)
    if streams < 1 or length < 1:
        raise ValueError(f"streams and length must be at least 1, got {streams} and {length}")
    steps = (len(tokens) // streams - 1) // length
    if tokens.ndim != 1 or steps < 1:
        raise ValueError(f"{tokens.size} tokens are too few for {streams} streams of {length} tokens and the next one")
    run = tokens[: (len(tokens) // streams) * streams].reshape(streams, -1)

    def cut(a: np.ndarray) -> np.ndarray:
        return a.reshape(streams, steps, length).swapaxes(0, 1).reshape(-1, length)

    return cut(run[:, : steps * length]), cut(run[:, 1 : steps * length + 1])


def _corpus(parts: Sequence[Sequence[str]], vocabulary: tuple[str, ...]) -> Corpus:
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        if len(part) < 2:
            raise ValueError(f"the {name} text has {len(part)} tokens: there is nothing to predict in less than two")
    train, valid, test = (encode(part, vocabulary) for part in parts)
    return Corpus(train, valid, test, vocabulary)


def _files(folder: str | Path | None, layout: str, digests: dict[str, str], source: str) -> list[tuple[Path, str]]:
    base = data_folder(folder, layout, digests, source)
    return [(base / name, digest) for name, digest in digests.items()]


def _read(path: Path, digest: str) -> str:
    with door(path, "a text file"):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise BadFileError("is not the published file (it has another digest): get it again")
        return content.decode("utf-8").replace("\r\n", "\n")
