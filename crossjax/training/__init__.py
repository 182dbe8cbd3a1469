"""Training networks that survive the noise of a chip."""

from crossjax.tiles.injection import DeviceNoise, DropConnect, WeightNoise
from crossjax.training.fit import Trained, cross_entropy, distillation, fit, make_step
from crossjax.training.transforms import clip_weights, ranges

__all__ = [
    "DeviceNoise",
    "DropConnect",
    "Trained",
    "WeightNoise",
    "clip_weights",
    "cross_entropy",
    "distillation",
    "fit",
    "make_step",
    "ranges",
]
