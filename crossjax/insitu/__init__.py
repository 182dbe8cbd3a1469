"""Training on the chip: pulse trains, weights of pulsed devices, schemes of updating them, and both products."""

from crossjax.insitu.mixed_precision import MixedPrecision
from crossjax.insitu.product import Sides, Tape, product, training_periphery
from crossjax.insitu.schemes import BaseScheme, PulsedSGD, Scheme
from crossjax.insitu.significance import Levels, Significance, Tuned, Upper
from crossjax.insitu.synapses import Against, OneSided, Single, Synapse
from crossjax.insitu.tiki_taka import TikiTaka, from_preset
from crossjax.insitu.trains import Counts, Dithered, Expected, Implicit, MeanCount, Rounded, Trains

__all__ = [
    "Against", "BaseScheme", "Counts", "Dithered", "Expected", "Implicit", "Levels", "MeanCount", "MixedPrecision",
    "OneSided", "PulsedSGD", "Rounded", "Scheme", "Sides", "Significance", "Single", "Synapse", "Tape", "TikiTaka",
    "Trains", "Tuned", "Upper", "from_preset", "product", "training_periphery",
]  # fmt: skip
