"""Flax NNX networks on chips: convert, train, program, read, evaluate, save."""

from crossjax.nn import convert, models
from crossjax.nn.chips import accuracy, adabs, evaluate, logits, program, read
from crossjax.nn.convert import account, calibrate, digital, set_key, summary, to_analog
from crossjax.nn.files import load_torch
from crossjax.nn.layers import ConvTranspose, Embed
from crossjax.nn.ops import InputRange
from crossjax.nn.saving import load, save

__all__ = [
    "ConvTranspose",
    "Embed",
    "InputRange",
    "account",
    "accuracy",
    "adabs",
    "calibrate",
    "convert",
    "digital",
    "evaluate",
    "load",
    "load_torch",
    "logits",
    "models",
    "program",
    "read",
    "save",
    "set_key",
    "summary",
    "to_analog",
]
