"""Writing weights into chips: one shot, program and verify, gradient descent on the MVM error."""

from crossjax.programming.core import Core, SimulatedCore
from crossjax.programming.history import History
from crossjax.programming.methods import GDP, Exact, Iterative, Method, OneShot
from crossjax.programming.program import METHODS, method, mvm_error, program, program_core, random_inputs

__all__ = [
    "GDP", "METHODS", "Core", "History", "Iterative", "Method", "OneShot", "SimulatedCore", "method", "mvm_error",
    "program", "program_core", "random_inputs",
]  # fmt: skip
