"""Flax NNX networks on chips: convert, train, program, read, evaluate, save."""

from crossjax.nn import binary, convert, language, models
from crossjax.nn.change import at_step, held, map_tiles
from crossjax.nn.chips import accuracy, adabs, evaluate, logits, program, read
from crossjax.nn.convert import account, calibrate, digital, set_key, summary, to_analog
from crossjax.nn.files import load_torch
from crossjax.nn.hardware import Hardware
from crossjax.nn.layers import ConvTranspose, Embed
from crossjax.nn.learning import Learning, pulses
from crossjax.nn.ops import ConvOp, EinsumOp, InputRange, MatrixOp, Op
from crossjax.nn.registry import register
from crossjax.nn.saving import load, save
from crossjax.nn.spiking import IntegrateAndFire, Spiking, spiking

__all__ = [
    "ConvOp",
    "ConvTranspose",
    "EinsumOp",
    "Embed",
    "Hardware",
    "InputRange",
    "IntegrateAndFire",
    "Learning",
    "MatrixOp",
    "Op",
    "Spiking",
    "account",
    "accuracy",
    "adabs",
    "at_step",
    "binary",
    "calibrate",
    "convert",
    "digital",
    "evaluate",
    "held",
    "language",
    "load",
    "load_torch",
    "logits",
    "map_tiles",
    "models",
    "program",
    "pulses",
    "read",
    "register",
    "save",
    "set_key",
    "spiking",
    "summary",
    "to_analog",
]
