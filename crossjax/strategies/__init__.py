"""Where to put a weight: the error of a programming strategy in closed form, and the search for the best one.

>>> density = cx.strategies.of_weights(weights)
>>> best = cx.strategies.descend(key, cx.strategies.problem(device, density), cx.strategies.Cube((2.0, 1.0)))
>>> tile = cx.replace(tile, cell=best.strategy)
"""

from crossjax.strategies.cube import Cube, at_point, point_of
from crossjax.strategies.density import Density, at_knots, count_beyond, gaussian, of_weights
from crossjax.strategies.files import load_strategy, save_strategy
from crossjax.strategies.objective import TIMES, WeightError, mvm_error, weight_error
from crossjax.strategies.sampled import SampledLoss
from crossjax.strategies.search import Found, Problem, descend, descent, evolve, fixed_points, problem, published
from crossjax.tiles.strategy import as_strategy

__all__ = [
    "TIMES", "Cube", "Density", "Found", "Problem", "SampledLoss", "WeightError", "as_strategy", "at_knots",
    "at_point", "count_beyond", "descend", "descent", "evolve", "fixed_points", "gaussian", "load_strategy",
    "mvm_error", "of_weights", "point_of", "problem", "published", "save_strategy", "weight_error",
]  # fmt: skip
