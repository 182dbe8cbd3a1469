"""Named hardware, each number with its source: where most notebooks start.

tile = cx.presets.hermes()
tile = cx.replace(tile, adc=cx.ADC(bits=6), **{"device.g_max": 18.0})
"""

from __future__ import annotations

from collections.abc import Callable

from crossjax import devices
from crossjax._checks import check_name, ensure_range
from crossjax._kinds import door
from crossjax.circuits.converters import ADC, DAC
from crossjax.circuits.wires import StaticDrop
from crossjax.tiles.cells import Pairs
from crossjax.tiles.tile import Tile


@door
def ideal(rows: int = 512, cols: int = 512) -> Tile:
    """No non-ideality at all: the plain matrix product, through the same code."""
    return Tile(rows, cols, device=devices.ideal(), compensation=None)


@door
def pcm(g_max: float = 25.0, rows: int = 512, cols: int = 512) -> Tile:
    """One pair of statistical PCM devices per weight, no converters: the devices alone (Joshi 2020, Rasch 2023)."""
    return Tile(rows, cols, device=devices.pcm(g_max))


@door
def pcm_msp_lsp(F: float = 2.0, g_max: float = 25.0, split: str = "lsp_first") -> Tile:
    """Two pairs of statistical PCM devices per weight, the most significant one worth F times the other.

    Mackin et al., Nat. Commun. 13:3765 (2022) find F = 2 and the least significant pair first best.
    """
    ensure_range("F", F, low=1)
    return Tile(512, 512, device=devices.pcm(g_max), cell=Pairs((F, 1.0), split))


@door
def hermes(devices_per_polarity: int = 2, *, gain: float | None = None) -> Tile:
    """IBM's HERMES core: 256 × 256 cells of four PCM devices, 8-bit PWM inputs, one 420-level ADC per column.

    Khaddam-Aljameh et al., IEEE JSSC 57:1027 (2022); Le Gallo et al., Nat. Electron. 6:680 (2023). The error of
    the periphery was measured with Gaussian weights and inputs on all 256 rows, and is Gaussian, σ = 1.94 % of the
    outputs. With σ = 1/3 of full weights and inputs the outputs have σ_y = √256 / 9 = 1.78 full inputs on full
    weights. From that follow the two numbers that are not published in these units:

    * the ADC's range is 4 σ_y = 7.11: what those outputs fill. Other matrices and inputs fill it otherwise:
      `crossjax.calibrate_ranges` gives the range that yours need, and `crossjax program` and `crossjax.nn.program`
      do so by themselves;
    * the output noise is what is left of 1.94 % when 8-bit inputs (step 2/254: 0.68 %), 420 levels (step 0.0339:
      0.55 %) and clipping at 4 σ (0.25 %) are taken out: 1.71 % of σ_y, 0.0305.

    420 levels are an even number: none of them is at 0 (see `ADC`; ``even="mid-tread"`` puts one there). One level is
    0.034 of a full weight. The threshold of the devices' RESET spreads by 6 % from cell to cell: no published number.

    Args:
        devices_per_polarity: 2, or 1 for a cell of two devices.
        gain: standard deviation of the columns' gains (0.03 in the studies of GDP); None for equal columns.
    """
    outputs = 256**0.5 / 9
    return Tile(
        256,
        256,
        device=devices.hermes(devices_per_polarity),
        dac=DAC(bits=8, range=1.0),
        adc=ADC(levels=420, range=4 * outputs, gain=gain),
        noise=(0.0194**2 - 0.0068**2 - 0.0055**2 - 0.0025**2) ** 0.5 * outputs,
    )


@door
def standard(rows: int = 512, cols: int = 512, *, ir_drop: bool = False) -> Tile:
    """The "standard" inference model of Rasch et al., Nat. Commun. 14:5282 (2023): PCM with its periphery.

    8-bit DAC (input range 1) and ADC (range 10) of 254 steps, output noise 0.04, one digital scale per column.

    Of the published model this leaves out the IR drop unless it is asked for, and the learning of input ranges,
    which is training (`crossjax.nn.to_analog` with ``learn_ranges``).

    Args:
        rows, cols: size of the tile.
        ir_drop: the published polynomial of the drop along bit lines, 0.35 Ω a segment at 5 µS.
    """
    wires = StaticDrop() if ir_drop else None
    dac, adc = DAC(range=1.0), ADC(range=10.0)
    return Tile(rows, cols, device=devices.pcm(), dac=dac, adc=adc, noise=0.04, scaling="column", wires=wires)


PRESETS: dict[str, Callable[..., Tile]] = {
    "ideal": ideal,
    "pcm": pcm,
    "pcm_msp_lsp": pcm_msp_lsp,
    "hermes": hermes,
    "standard": standard,
}


@door
def get(name: str) -> Tile:
    """A preset by its name (the command line's ``--tile``).

    Raises:
        ValueError: for an unknown name; says the nearest one.
    """
    check_name(name, tuple(PRESETS), "tile")
    return PRESETS[name]()


__all__ = ["PRESETS", "get", "hermes", "ideal", "pcm", "pcm_msp_lsp", "standard"]
