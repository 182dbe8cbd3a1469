"""Training networks that survive the noise of a chip."""

from crossjax.tiles.injection import DeviceNoise, DropConnect, WeightNoise
from crossjax.training.checkpoints import Checkpoints
from crossjax.training.fit import Trained, fit, stop_at_nan
from crossjax.training.in_situ import Course, InSitu, course, fit_in_situ, judge
from crossjax.training.language import CarriedState, in_order, zaremba
from crossjax.training.losses import cross_entropy, distillation
from crossjax.training.order import shuffled
from crossjax.training.progress import Bar
from crossjax.training.steps import GradientStep, Step, make_step
from crossjax.training.transforms import bound_weights, clip_weights, ranges

__all__ = [
    "Bar",
    "CarriedState",
    "Checkpoints",
    "Course",
    "DeviceNoise",
    "DropConnect",
    "GradientStep",
    "InSitu",
    "Step",
    "Trained",
    "WeightNoise",
    "bound_weights",
    "clip_weights",
    "course",
    "cross_entropy",
    "distillation",
    "fit",
    "fit_in_situ",
    "in_order",
    "judge",
    "make_step",
    "ranges",
    "shuffled",
    "stop_at_nan",
    "zaremba",
]
