"""Converters around the array: DACs on the word lines, ADCs on the bit lines.

Signals are normalised: a DAC turns an input into a word-line signal in [−1, 1]; a bit line sums signal times
normalised weight (|w| ≤ 1), so one full input on one full weight is an output of 1; the ADC digitises that sum.

    x ──DAC──► u ∈ [−1, 1] ──Σ u w──► y ──gain, offset, INL──► clip ± range, round ──► code
                                      + output noise
"""

from __future__ import annotations

import math
from typing import Any

import jax.core
import jax.numpy as jnp
from jax import Array, lax

from crossjax._checks import ensure
from crossjax._kinds import door
from crossjax._numerics import at_least_single, clip_inside, quantize, round_through
from crossjax._pytree import check_choice, check_count, check_range, spec, static
from crossjax._random import named, normal
from crossjax.circuits.scaling import SATURATIONS, SCALINGS, InputScaling, Saturation


def levels_of(bits: int | None, levels: int | None) -> int | None:
    """Levels of a converter: ``levels`` if given, else 2^bits − 1 (symmetric), 2 for one bit, None for no bits."""
    if levels is not None:
        return levels
    if bits is None:
        return None
    return 2 if bits == 1 else 2**bits - 1


class _Default(int):
    """A number of bits that nobody asked for, so it gives way to ``levels``."""


def _check_resolution(converter: Any) -> None:
    bits, name = converter.bits, type(converter).__name__
    if isinstance(bits, _Default):  # from here on it is a plain number, or None beside levels
        object.__setattr__(converter, "bits", int(bits) if converter.levels is None else None)
    elif bits is not None:
        check_count(converter, "bits", low=1)
    if converter.levels is not None:
        check_count(converter, "levels", low=2)
        if converter.bits is not None:
            raise ValueError(
                f"{name}.bits ({bits}) and {name}.levels ({converter.levels}) are both given, and a converter has one "
                f"resolution: set bits=None to keep the levels, or levels=None to keep the bits"
            )
    check_choice(converter, "even", ("mid-rise", "mid-tread"))


@spec
class DAC:
    """Inputs to word-line signals: clip to ± range, round to levels, perhaps in several slices.

    Attributes:
        bits: resolution; 2^bits − 1 levels symmetric around 0 (1 bit: ± range). 8, or None where levels are
            given. None without levels: no rounding.
        range: input that becomes a full signal, in the units of x. Its gradient trains it.
        levels: exact number of levels instead of bits (254 steps are 255 levels). An odd number has a level at 0.
        slice_bits: None for one analog value per input; b to send the integer magnitude b bits at a time
            (1: bit-serial), each slice through the array and the ADC, added up digitally.
        scaling: "fixed", "absmax" to rescale every vector by its largest magnitude (noise management), or a part of
            your own (`scaling.py`).
        even: what an even number of levels does around 0: "mid-rise" has both ends of the range and no level at 0,
            "mid-tread" has 0 and no upper end (two's complement; see `quantize`). Mid-rise, an input of 0 becomes
            the level above it; only a word line that is not driven (an unused row of a tile, the padding of a
            convolution, the vector of zeros that absmax scaling sends nothing for) carries exactly nothing.
    """

    bits: int | None = static(default=_Default(8))
    range: float = 1.0
    levels: int | None = static(default=None)
    slice_bits: int | None = static(default=None)
    scaling: InputScaling | str = static(default="fixed")
    even: str = static(default="mid-rise")

    def _check(self) -> None:
        _check_resolution(self)
        check_range(self, "range", low=0, strict=True)
        if isinstance(self.scaling, str):
            check_choice(self, "scaling", tuple(SCALINGS))
        if self.slice_bits is not None:
            check_count(self, "slice_bits", low=1)
            if self.steps is None or self.steps % 2 == 0:
                raise ValueError("DAC.slice_bits needs a resolution of at least 2 bits (or an odd number of levels)")

    @property
    def steps(self) -> int | None:
        """Levels of the converter, None without rounding."""
        return levels_of(self.bits, self.levels)

    @property
    def slice_weights(self) -> tuple[float, ...]:
        """What one full signal of each slice is worth, least significant first; they sum to at least 1."""
        if self.slice_bits is None:
            return (1.0,)
        largest = ((self.steps or 2) - 1) // 2
        base = 2**self.slice_bits
        count = max(1, math.ceil(math.log(largest + 1, base) - 1e-9))
        return tuple((base - 1) * base**s / largest for s in range(count)) if count > 1 else (1.0,)

    @property
    def per_vector(self) -> bool:
        """Whether every vector has a scale of its own, whatever the range is."""
        return self._scaling.per_vector

    @property
    def _scaling(self) -> InputScaling:
        return SCALINGS[self.scaling] if isinstance(self.scaling, str) else self.scaling

    def input_scale(self, x: Array) -> Array:
        """The input (last axis: rows) that becomes a full signal: a number, or one per vector."""
        return self._scaling.scale(x, self.range)

    def convert(self, u: Array) -> Array:
        """Signals for normalised inputs ``u``: clipped to [−1, 1] and rounded (straight-through in [−1, 1])."""
        return quantize(u, 1.0, self.steps, self.even)

    @property
    def has_zero(self) -> bool:
        """Whether an input of 0 gives a signal of 0."""
        return self.steps is None or self.steps % 2 == 1 or self.even == "mid-tread"

    def slices(self, u: Array) -> Array:
        """Signals of every slice, (slices, *u.shape); Σ slice_weights · signals = convert(u).

        Sign and magnitude: every slice is a digit in [−1, 1]. The surrogate gradient of each slice is its
        share of the straight-through gradient of the sum.
        """
        weights = self.slice_weights
        if len(weights) == 1:
            return self.convert(u)[None]
        largest = ((self.steps or 2) - 1) // 2
        base = 2 ** (self.slice_bits or 1)
        whole = round_through(clip_inside(u, -1.0, 1.0) * largest)
        magnitude, sign = jnp.abs(lax.stop_gradient(whole)), jnp.sign(lax.stop_gradient(whole))
        digits = [sign * (jnp.floor(magnitude / base**s) % base) / (base - 1) for s in range(len(weights))]
        smooth = whole / largest / sum(weights)
        return jnp.stack([d + (smooth - lax.stop_gradient(smooth)) for d in digits])


@spec
class ColumnSpread:
    """What one chip's ADCs turned out to be: gain, offset and nonlinearity of every column (None: perfect).

    Attributes:
        gain: factor of every column.
        offset: of every column, as a fraction of the range.
        bow, twist: even and odd part of its nonlinearity, at the worst point, as a fraction of the range.
    """

    gain: Array | None = None
    offset: Array | None = None
    bow: Array | None = None
    twist: Array | None = None


@spec
class ADC:
    """Bit-line sums to numbers: per-column gain, offset and INL, then clip to ± range and round.

    Attributes:
        bits: resolution, as in `DAC`; None, without levels, for no rounding (clipping stays).
        range: largest output, in full inputs on full weights. Its gradient trains it.
        levels: exact number of levels instead of bits. The HERMES core's ADC has 420: an even number, so none of
            them is 0 (mid-rise) unless ``even`` says so.
        gain: standard deviation of the columns' gains around 1; None for none.
        offset: standard deviation of their offsets, as a fraction of range.
        inl: standard deviation of the bow (even) and of the twist (odd) of their transfer curves, at the worst
            point, as a fraction of range.
        on_saturation: "clip", "halve" to send a vector that saturated an ADC again at half the input until it fits
            (bound management, at most 2^-10), or a part of your own (`scaling.py`).
        integration: a counting ADC's time, in times of an MVM: its levels are finer by this factor, its range is
            the same (the counter is wide enough). None: one.
        even: as in `DAC`.
    """

    bits: int | None = static(default=_Default(8))
    range: float = 10.0
    levels: int | None = static(default=None)
    gain: float | None = None
    offset: float | None = None
    inl: float | None = None
    on_saturation: Saturation | str = static(default="clip")
    integration: float | None = None
    even: str = static(default="mid-rise")

    def _check(self) -> None:
        _check_resolution(self)
        check_range(self, "range", low=0, strict=True)
        check_range(self, "integration", low=0, strict=True)
        for name in ("gain", "offset", "inl"):
            check_range(self, name, low=0)
        if isinstance(self.on_saturation, str):
            check_choice(self, "on_saturation", tuple(SATURATIONS))

    @property
    def steps(self) -> int | None:
        """Levels of the converter, None without rounding."""
        return levels_of(self.bits, self.levels)

    @property
    def step(self) -> Array | float:
        """Distance of two levels, in full inputs on full weights; 0 without rounding."""
        if self.steps is None:
            return 0.0
        gaps = self.steps if self.even == "mid-tread" and self.steps % 2 == 0 else self.steps - 1
        return 2.0 * self.range / gaps

    def draw(self, key: Array, shape: tuple[int, ...]) -> ColumnSpread:
        """The ADCs of one chip, once, one for every column of ``shape``."""

        def some(name: str, sigma: float | None, centre: float) -> Array | None:
            return None if sigma is None else centre + sigma * normal(named(key, name), shape)

        return ColumnSpread(
            some("gain", self.gain, 1.0), some("offset", self.offset, 0.0), some("bow", self.inl, 0.0),
            some("twist", self.inl, 0.0),
        )  # fmt: skip

    def distort(self, y: Array, columns: ColumnSpread) -> Array:
        """The transfer curves of the columns (last axis), before rounding."""
        if columns.gain is not None:
            y = y * columns.gain
        if columns.bow is not None and columns.twist is not None:
            u = clip_inside(y / self.range, -1.0, 1.0)
            bend = columns.bow * (1.0 - u * u) + columns.twist * (1.5 * 3.0**0.5) * (u - u * u * u)
            y = y + self.range * bend
        if columns.offset is not None:
            y = y + self.range * columns.offset
        return y

    def convert(self, y: Array) -> Array:
        """Digitise: clip to ± range and round (straight-through gradient in the closed range, none outside)."""
        return quantize(y, self.range, self.steps, self.even, self.integration)

    @property
    def sends_again(self) -> bool:
        """Whether a vector that saturates may be sent again."""
        return self._saturation.again

    @property
    def _saturation(self) -> Saturation:
        return SATURATIONS[self.on_saturation] if isinstance(self.on_saturation, str) else self.on_saturation

    def share(self, y: Array) -> Array:
        """By what the inputs of outputs ``y`` (last axis: columns) are divided when they are sent again, ≥ 1."""
        return self._saturation.share(jnp.max(jnp.abs(lax.stop_gradient(y)) / self.range, axis=-1, keepdims=True))


@door
def percentile_range(values: Array, percentile: float = 99.995) -> Array:
    """The range that holds ``percentile`` % of the magnitudes of ``values`` (never 0).

    Joshi et al., Nat. Commun. 11:2473 (2020) use 99.995 for 8-bit ADCs.

    Returns:
        The range. Where so many values are 0 that it would be 0, the largest magnitude; for zeros alone, which say
        nothing about a range, 1. NaN and infinity among values that are not known yet (under jit) give NaN.

    Raises:
        ValueError: for a percentile outside (0, 100], no values, or NaN or infinity among them.
    """
    needed = needed_range(values, percentile)
    if not isinstance(needed, jax.core.Tracer) and not jnp.isfinite(needed):
        raise ValueError("values hold NaN or infinity, and no range holds those: clean them before calibration")
    return jnp.where(needed == 0, 1.0, needed)


def needed_range(values: Array, percentile: float) -> Array:
    """`percentile_range`, but 0 for values that are all 0, and NaN for any that are not finite.

    Raises:
        ValueError: for a percentile outside (0, 100], or no values.
    """
    check_percentile(percentile)
    sizes = jnp.abs(at_least_single(values))
    if sizes.size == 0:
        raise ValueError(f"a range follows from values, and there are none (shape {sizes.shape})")
    largest, wanted = jnp.max(sizes), jnp.percentile(sizes, percentile, method="higher")
    wanted = jnp.where(wanted > 0, wanted, largest)
    return jnp.where(jnp.isfinite(largest), wanted, jnp.nan)


def check_percentile(percentile: float) -> None:
    """Raise ``ValueError`` unless it is in (0, 100]."""
    ensure(lambda p: (p > 0) & (p <= 100), "percentile must be in (0, 100]", percentile)


__all__ = ["ADC", "DAC", "ColumnSpread", "check_percentile", "levels_of", "percentile_range"]
