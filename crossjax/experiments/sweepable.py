"""What a sweep can run: a hardware, and figures of one chip of it as a pure function of a key and the hardware.

A new one is a frozen dataclass here, whose fields are its settings, with `hardware` and `measure`; and a line of
`EXPERIMENTS`. A function of one's own, "module:function", is called with a key and its knobs by name.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

import crossjax as cx
from crossjax import hardware_files, images, insitu, nn, programming, pulsed, training
from crossjax._checks import check_name
from crossjax._kinds import fitted, hints_of
from crossjax._random import named, normal
from crossjax.experiments.sweep_spec import fields_of


class Experiment(Protocol):
    """One kind of experiment."""

    def hardware(self) -> Any:
        """What the knobs change."""
        ...

    def changed(self, hardware: Any, knobs: Mapping[str, Any]) -> Any:
        """The hardware of a point."""
        ...

    def measure(self, key: Array, hardware: Any) -> dict[str, Array]:
        """Figures of one chip; traced."""
        ...


class _OfSpec:
    """Experiments whose knobs are fields of a spec."""

    def changed(self, hardware: Any, knobs: Mapping[str, Any]) -> Any:
        """See `Experiment.changed`."""
        known = list(fields_of(hardware))
        for name in knobs:
            check_name(name, known, f"knob of {type(hardware).__name__}")
        return cx.replace(hardware, **knobs)


@dataclasses.dataclass(frozen=True)
class Program(_OfSpec):
    """Gaussian weights programmed into a chip: MVM and weight error at a time.

    Attributes:
        tile: hardware by name, or a .toml or .json file.
        method: how it is programmed.
        rows, cols: of the matrix.
        time: of the reading, s after the first.
    """

    tile: str = "hermes"
    method: str = "gdp"
    rows: int = 256
    cols: int = 256
    time: float = 0.0

    def hardware(self) -> cx.Tile:
        """See `Experiment.hardware`."""
        return hardware_files.find_tile(self.tile)

    def measure(self, key: Array, hardware: cx.Tile) -> dict[str, Array]:
        """See `Experiment.measure`."""
        weights = jnp.clip(normal(named(key, "weights"), (self.rows, self.cols)), -3.0, 3.0)
        tile = cx.typical_ranges(hardware, weights) if hardware.adc is not None else hardware
        chip, _ = cx.program(named(key, "chip"), tile, weights, programming.method(self.method))
        key = named(key, "read")
        found = cx.weights_at(key, tile, chip, self.time)
        return {
            "mvm_error": cx.mvm_error(key, tile, chip, weights, t=self.time),
            "weight_error": jnp.linalg.norm(found - weights) / jnp.linalg.norm(weights),
        }


@dataclasses.dataclass(frozen=True)
class InSitu(_OfSpec):
    """A perceptron trained on pulsed devices: its accuracy. Knobs are fields of the scheme ("lower.device.noise").

    Attributes:
        scheme: "sgd", "pair", "mixed", "msp-lsp", "v2", "chopped" or "agad".
        device: a pulsed device by name; of "msp-lsp" the less significant one, of "pair" and "mixed" both of a pair.
        data: "digits", which come with the package; or "mnist", from the data folder.
        folder: of the data; default CROSSJAX_DATA.
        images: of the training set.
        hidden: width of the hidden layer.
        epochs: of training.
        rate: learning rate.
        scale: weight that a normalised weight of 1 stands for.
        every: T of "msp-lsp".
    """

    scheme: str = "sgd"
    device: str = "ideal"
    data: str = "digits"
    folder: str = ""
    images: int = 1000
    hidden: int = 32
    epochs: int = 2
    rate: float = 0.05
    scale: float = 1.0
    every: int = 500

    def hardware(self) -> insitu.Scheme:
        """See `Experiment.hardware`."""
        device = pulsed.get(self.device)
        check_name(self.scheme, ("sgd", "pair", "mixed", "msp-lsp", "v2", "chopped", "agad"), "scheme")
        if self.scheme in ("v2", "chopped", "agad"):
            return insitu.from_preset(self.scheme, self.device)
        return {
            "sgd": lambda: insitu.PulsedSGD(insitu.Single(device)),
            "pair": lambda: insitu.PulsedSGD(insitu.OneSided(device)),
            "mixed": lambda: insitu.MixedPrecision(insitu.OneSided(device)),
            "msp-lsp": lambda: insitu.Significance(lower=insitu.Against(device), every=self.every),
        }[self.scheme]()

    @cached_property
    def _data(self) -> tuple[Any, Any]:
        check_name(self.data, ("digits", "mnist"), "data")
        if self.data == "digits":
            x, y = images.digits()
            x = (x / x.max()).astype(np.float32)
            cut = min(self.images, len(x) - 300)
            return (x[:cut], y[:cut]), (x[-300:], y[-300:])
        found = images.mnist(Path(self.folder) if self.folder else None)
        flat = [((x.reshape(len(x), -1) / 255).astype(np.float32), y) for x, y in (found.train, found.test)]
        return (flat[0][0][: self.images], flat[0][1][: self.images]), flat[1]

    def measure(self, key: Array, hardware: insitu.Scheme) -> dict[str, Array]:
        """See `Experiment.measure`."""
        data, test = self._data
        net = nn.models.MLP((data[0].shape[1], self.hidden, 10), rngs=nnx.Rngs(named(key, "weights")))
        shape = jax.ShapeDtypeStruct((1, data[0].shape[1]), jnp.float32)
        analog = nn.to_analog(net, nn.Learning(hardware, scale=self.scale), example=shape, report=None)
        chips, _ = nn.program(named(key, "devices"), analog, ranges="keep", report=None)
        model = nn.read(key, chips)
        found = training.course(
            named(key, "run"), model, data, training.InSitu(self.rate), epochs=self.epochs, test=test
        )
        return {"accuracy": found.test[-1], "loss": found.loss[-1]}  # type: ignore[index]


@dataclasses.dataclass(frozen=True)
class Function:
    """A function of one's own: ``f(key, **knobs)`` returns a number, or numbers by name."""

    place: str
    settings: Mapping[str, Any]

    @cached_property
    def _function(self) -> Any:
        module, _, name = self.place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"the experiment {self.place!r} cannot be imported: {error}") from error

    def hardware(self) -> dict[str, Any]:
        """See `Experiment.hardware`: settings by name."""
        return dict(self.settings)

    def changed(self, hardware: dict[str, Any], knobs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Experiment.changed`."""
        parameters = inspect.signature(self._function).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            for name in (*hardware, *knobs):
                check_name(name, list(parameters)[1:], f"argument of {self.place}")
        return hardware | dict(knobs)

    def measure(self, key: Array, hardware: dict[str, Any]) -> dict[str, Array]:
        """See `Experiment.measure`."""
        found = self._function(key, **hardware)
        return dict(found) if isinstance(found, Mapping) else {"result": found}


EXPERIMENTS: dict[str, type[Program] | type[InSitu]] = {"program": Program, "in-situ": InSitu}


def experiment(name: str, settings: Mapping[str, Any]) -> Experiment:
    """An experiment by its name, with settings.

    Raises:
        ValueError: for an unknown name or setting (the nearest one is suggested), or one of the wrong kind.
    """
    if ":" in name:
        return Function(name, settings)
    check_name(name, (*EXPERIMENTS, "module:function"), "experiment")
    kind = EXPERIMENTS[name]
    known = [f.name for f in dataclasses.fields(kind)]
    for setting in settings:
        check_name(setting, known, f"setting of {name}")
    hints = hints_of(kind, known)
    return kind(**{k: fitted(f"setting {k}", hints[k], v) for k, v in settings.items()})
