"""Writing weights into chips: one shot, program and verify, row by row, gradient descent on the MVM error."""

from crossjax.programming.core import Core, Programmable
from crossjax.programming.gdp import GDP
from crossjax.programming.history import History, Spent, Sums, measure
from crossjax.programming.iterative import Iterative
from crossjax.programming.methods import Exact, Method, OneShot, OpenLoop, probe
from crossjax.programming.program import METHODS, method, mvm_error, program, program_core, random_inputs
from crossjax.programming.row_wise import RowWise
from crossjax.programming.simulated import SimulatedCore

__all__ = [
    "GDP", "METHODS", "Core", "Exact", "History", "Iterative", "Method", "OneShot", "OpenLoop", "Programmable",
    "RowWise", "SimulatedCore", "Spent", "Sums", "measure", "method", "mvm_error", "probe", "program", "program_core",
    "random_inputs",
]  # fmt: skip
