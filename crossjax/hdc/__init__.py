"""Hyperdimensional computing: encoders, levels, class vectors, and their search in a content-addressable memory.

    x ──encode──► h ──quantise──► levels ──search──► class
                  │                         ▲
                  └──bundle──► classes ──retrain──┘

>>> encoder = cx.hdc.Projection(features=617, dimensions=4000)
>>> book = encoder.draw(key)
>>> h = encoder.encode(key, book, x)
>>> trained = cx.hdc.retrain(key, h, y, cx.hdc.InMemory(cx.cam.CAM(bits=3)), classes=26)
>>> found = trained.classify(key, encoder.encode(key, book, x_test))
"""

from crossjax.hdc.classes import Classifier, Cosine, InMemory, Searched, bundle, descend, retrain
from crossjax.hdc.encoders import Encoder, LevelPosition, NGrams, Projection
from crossjax.hdc.levels import centres, quantise, standardise, thresholds

__all__ = [
    "Classifier", "Cosine", "Encoder", "InMemory", "LevelPosition", "NGrams", "Projection", "Searched", "bundle",
    "centres", "descend", "quantise", "retrain", "standardise", "thresholds",
]  # fmt: skip
