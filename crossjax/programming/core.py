"""The core that a programming method talks to: it multiplies, and it takes write pulses.

    method ──pulse(change), write(weights)──► core ──mvm(x), backward(d), verify()──► method

`Core` is what a laboratory implements over its own instrument. What a method sees is a `Programmable`: one tile of a
simulated chip (`simulated.py`) or an instrument in its clothes (`instrument.py`), and it cannot tell which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from jax import Array

State = TypeVar("State")
Step = Callable[[Any, State, Array, Array], tuple[Any, State, Any]]


@runtime_checkable
class Core(Protocol):
    """A real core, in normalised units: inputs in [−1, 1], weights in [−1, 1].

    A write pulse is requested as a signed change of weight, 0 for no pulse. How the core makes it (a number
    of SET pulses, a step of the RESET amplitude) is its own business.
    """

    def mvm(self, x: np.ndarray) -> np.ndarray:
        """Outputs (batch, cols) for inputs (batch, rows), through the core's own converters."""
        ...

    def pulse(self, change: np.ndarray) -> None:
        """Send write pulses to the cells whose requested change (rows, cols) is not 0."""
        ...


class Programmable(Protocol):
    """What a method may ask of a core, and what it may know of it. Weights (r, c) are normalised, |w| ≤ 1.

    Everything is a pure function: what changes the core returns the new one.
    """

    # ------------------------------------------------------------------------------ multiply and read

    def inputs(self, key: Array, batch: int, rows: int, deviation: Array | float) -> Array:
        """Random inputs (batch, r) of a standard deviation, as the core can be given them."""
        ...

    def mvm(self, key: Array, x: Array) -> Array:
        """Outputs (batch, c) for inputs (batch, r) in [−1, 1], all noise and converters included."""
        ...

    def backward(self, key: Array, d: Array) -> Array:
        """Outputs (batch, r) for inputs (batch, c) in [−1, 1] on the bit lines: the transposed product.

        Raises:
            ValueError: where the hardware cannot.
        """
        ...

    def verify(self, key: Array, rows: int, reads: int, integration: Array | float, how: str) -> Array:
        """Mean of ``reads`` reads of every weight (r, c), each counting ``integration`` times as long as an MVM.

        Args:
            key: their noise.
            rows: r.
            reads: how many.
            integration: see above.
            how: "mvm": by MVMs with one word line at full input; "cell": by a read circuit at the cell.

        Raises:
            ValueError: where the hardware cannot.
        """
        ...

    def integration(self, wanted: float | None, reads: int, tolerance: Array) -> Array:
        """How long a verify read counts, in MVMs: as wanted; None: until neither levels nor noise limit it.

        Raises:
            ValueError: where the hardware cannot.
        """
        ...

    def pull_back(self, x: Array, residual: Array, weights: Array, how: str) -> Array:
        """Gradient (r, c) of ½‖residual‖² by the weights for inputs ``x``.

        ``how``: "outer", Xᵀ residual, which needs no model; or "vjp", through the core's model at ``weights``.
        """
        ...

    # ------------------------------------------------------------------------------------------ write

    def pulse(self, key: Array, change: Array) -> tuple[Self, Array]:
        """After write pulses for changes of weight (r, c), 0 for none; and how many pulses that took."""
        ...

    def write(self, key: Array, weights: Array) -> tuple[Self, Array]:
        """After one request for each of the weights (r, c), from what the controller believes they are."""
        ...

    def program(self, key: Array, weights: Array) -> tuple[Self, Array]:
        """After the devices' published programming procedure; an instrument gets a request."""
        ...

    def exact(self, key: Array, weights: Array) -> Self:
        """With every device at its target.

        Raises:
            TypeError: for an instrument, whose devices nobody can set.
        """
        ...

    def repeat(
        self, step: Step[State], state: State, key: Array, count: int, *, reads: Array | float = 1.0,
        seconds: Array | float | None = None,
    ) -> tuple[Self, State, Any]:  # fmt: skip
        """``step(core, state, key_k, k)`` for k = 0 … count − 1, and what it records, stacked.

        Args:
            step, state, key, count: as above.
            reads: that one iteration makes, in times of one MVM.
            seconds: from one iteration to the next; None: no longer than its reads take.
        """
        ...

    # -------------------------------------------------------------------------- what is known of the core

    def write_noise(self, weights: Array) -> Array:
        """Standard deviation (r, c) of the weight that a write pulse leaves, at ``weights``."""
        ...

    def rounding(self, weights: Array) -> Array | float:
        """How far (r, c) the states of the devices are from ``weights``: no pulse makes up for it."""
        ...

    @property
    def flickers(self) -> bool:
        """Whether its devices have 1/f noise."""
        ...

    def flicker_noise(self, weights: Array) -> Array:
        """Standard deviation (r, c) of ``weights`` by 1/f noise, per unit of its deviation; 0 without."""
        ...

    def moment_noise(self, weights: Array, seconds: Array | float | None, reads: Array | float) -> Array | float:
        """Standard deviation (r, c) of ``weights`` by what is new of 1/f noise after so many seconds and reads."""
        ...

    def expected_change(self, left: Array) -> Array | float:
        """Change of the weights (r, c) that typical drift will bring in the iterations that are left."""
        ...

    # ----------------------------------------------------------------------- what only a simulation shows

    def weights(self) -> Array | None:
        """True weights (r, c); None for an instrument, which shows its outputs only."""
        ...

    def mask(self) -> Array | None:
        """Which weights (r, c) exist; None if all do."""
        ...
