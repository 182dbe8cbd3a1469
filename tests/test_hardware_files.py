"""Hardware as text, its datasheet, and how it is shown."""

import dataclasses
import importlib
import json
import pkgutil
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import crossjax
import crossjax as cx
from crossjax import catalogue, hardware_files
from crossjax.hardware import facts
from crossjax.store import is_spec

KEY = jax.random.key(0)


def buildable():
    """Every part of the catalogue that has numbers without being told them."""
    for name, maker in catalogue.parts().items():
        try:
            yield name, maker()
        except TypeError:
            continue


def same(a, b):
    assert type(a) is type(b) and jax.tree.structure(a) == jax.tree.structure(b)
    equal = jax.tree.map(lambda x, y: np.array_equal(np.float32(x), np.float32(y)), a, b)
    assert jax.tree.all(equal) and facts(a) == facts(b)


@pytest.mark.parametrize("kind", ["toml", "json"])
def test_every_part_comes_back_from_its_file(kind, tmp_path):
    count = 0
    for _, part in buildable():
        cx.save_hardware(tmp_path / f"part.{kind}", part)
        same(part, cx.load_hardware(tmp_path / f"part.{kind}"))
        count += 1
    assert count > 40


def test_wild_numbers_come_back(tmp_path):
    wires = cx.Wires(r_word=jnp.asarray([1.0, 1e-7, 2.0 / 3.0], jnp.float32)[:, None], r_bit=0.1)
    tile = cx.replace(cx.presets.standard(ir_drop=True), noise=jnp.float32(0.1), wires=wires)
    tile = cx.replace(tile, cell=cx.strategies.as_strategy(cx.Pairs((3.0, 1.0))))
    cx.save_hardware(tmp_path / "tile.toml", tile)
    same(jax.tree.map(np.asarray, tile), jax.tree.map(np.asarray, cx.load_hardware(tmp_path / "tile.toml")))


def test_a_file_by_hand_says_as_little_as_it_likes(tmp_path):
    (tmp_path / "t.toml").write_text(
        'part = "presets.hermes"\ngain = 0.03\nnoise = "off"\nrows = 64\n[adc]\nrange = 8.0\n'
        '[device]\npart = "cx.devices.reram_wan"\nafter = "1 d"\n[device.faults]\nlow = 0.01\n'
    )
    found = cx.load_hardware(tmp_path / "t.toml")
    wanted = cx.replace(
        cx.presets.hermes(gain=0.03), noise=None, rows=64, **{"adc.range": 8.0},
        device=cx.replace(cx.devices.reram_wan(after="1 d"), faults=cx.Faults(low=0.01)),
    )  # fmt: skip
    same(found, wanted)


def test_cells_of_digits_come_back_and_what_is_no_hardware_is_refused(tmp_path):
    tile = cx.replace(cx.presets.ideal(), cell=cx.bit_slices(2, 3))
    cx.save_hardware(tmp_path / "t.toml", tile)
    same(tile, cx.load_hardware(tmp_path / "t.toml"))
    with pytest.raises(TypeError, match="no part of hardware"):
        cx.save_hardware(tmp_path / "t.toml", cx.GDP())


@cx.spec
class Mine:
    """A law of one's own."""

    size: float = 1.0

    def __call__(self, x):
        return self.size * x


def test_parts_of_ones_own_are_given_as_types(tmp_path):
    device = cx.Device(programming=cx.devices.ProgrammingError(Mine(2.0), g_ref=25.0))
    cx.save_hardware(tmp_path / "d.json", device)
    with pytest.raises(ValueError, match="unknown part 'Mine'"):
        cx.load_hardware(tmp_path / "d.json")
    same(cx.load_hardware(tmp_path / "d.json", types=[Mine]), device)


@pytest.mark.parametrize(
    "text,message",
    [
        ('part = "presets.hermse"', "unknown part 'presets.hermse'; did you mean 'presets.hermes'"),
        ("nose = 3", "unknown field of Tile 'nose'; did you mean 'noise'"),
        ("[adc]\nbit = 3", r"unknown field of ADC \(adc\) 'bit'; did you mean 'bits'"),
        ("[wires]\nr_word = 1.0", "wires is off there: say which part.*Wires"),
        ('[device.drift]\npart = "PowerLawDrift"', "device.drift must say mean, spread, t_0"),
        ('noise = "loud"', "noise must be a number"),
        ("rows = 2.5", "rows must be a whole number"),
        ("adc = 3", "adc must be an ADC or None"),
        ('[adc]\npart = "devices.pcm"', "adc must be an ADC"),
        ("[adc]\nrange = -1.0", "range must be > 0"),
        ("x = [", "is not TOML"),
        ("part = 3", "must be the name of a part"),
    ],
)  # fmt: skip
def test_what_a_file_cannot_say_is_answered_in_one_line(text, message, tmp_path):
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        cx.load_hardware(tmp_path / "t.toml")
    assert "\n" not in str(error.value) and "t.toml" in str(error.value)


def test_other_kinds_of_files_and_things_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.toml or \.json"):
        cx.load_hardware(tmp_path / "t.yaml")
    with pytest.raises(FileNotFoundError):
        cx.load_hardware(tmp_path / "none.toml")
    with pytest.raises(TypeError, match="Tile or a part"):
        cx.save_hardware(tmp_path / "t.toml", {"rows": 3})
    with pytest.raises(FileNotFoundError, match="make it first"):
        cx.save_hardware(tmp_path / "no" / "t.toml", cx.Tile())
    with pytest.raises(TypeError, match="traced"):
        jax.jit(lambda s: cx.save_hardware(tmp_path / "t.toml", cx.Tile(noise=s)))(0.1)
    (tmp_path / "d.toml").write_text('part = "devices.pcm"')
    with pytest.raises(ValueError, match="a Tile is needed"):
        hardware_files.find_tile(str(tmp_path / "d.toml"))


def test_a_document_is_what_toml_and_json_say(tmp_path):
    cx.save_hardware(tmp_path / "t.toml", cx.presets.hermes())
    cx.save_hardware(tmp_path / "t.json", cx.presets.hermes())
    a, b = tomllib.loads((tmp_path / "t.toml").read_text()), json.loads((tmp_path / "t.json").read_text())
    assert a == b == hardware_files.to_document(cx.presets.hermes())


# --------------------------------------------------------------------------------------- datasheets


def specs():
    """Every public spec class of the package but those of experiments."""
    for module in pkgutil.walk_packages(crossjax.__path__, "crossjax."):
        if not any(part in module.name for part in (".papers", ".experiments", ".benchmarks")):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and is_spec(value) and not value.__name__.startswith("_"):
                    yield value


STATES = ("Stuck", "MixedState", "LevelState", "SignificanceState", "AgainstState", "Sums")  # what schemes hold


def test_every_field_of_every_part_has_a_meaning():
    from crossjax._show import meanings

    for cls in set(specs()):
        if cls.__name__ not in STATES:
            missing = [f.name for f in dataclasses.fields(cls) if f.name not in meanings(cls)]
            assert not missing, (cls, missing)


def test_a_datasheet_says_value_unit_and_source():
    sheet = cx.describe("hermes")
    said = str(sheet)
    assert "Nat. Electron. 6:680 (2023)" in said and "device.g_max" in said and "µS" in said
    one = cx.describe(cx.presets.hermes(), "device.drift")
    assert one.lines[0].name == "device.drift" and "300" in str(one)
    assert any("[structure]" in line.meaning for line in cx.describe(cx.ADC).lines)
    assert list(sheet.to_pandas().columns) == ["name", "value", "meaning", "part"]
    assert "<table>" in sheet._repr_html_()
    with pytest.raises(ValueError, match=r"did you mean 'device\.drift'"):
        cx.describe(cx.presets.hermes(), "device.drif")
    with pytest.raises(TypeError, match="hardware made of"):
        cx.describe(3)
    assert [line.value for line in cx.describe("bit_slices").lines][:2] == ["needed", "needed"]
    assert len(cx.describe(cx.ADC, "range").lines) == 1
    with pytest.raises(ValueError, match="unknown field of ADC"):
        cx.describe(cx.ADC, "nonsense")


def test_nothing_that_is_shown_fills_a_screen():
    tile, weights = cx.presets.hermes(gain=0.03), jax.random.normal(KEY, (300, 40))
    chip, history = cx.program(KEY, tile, weights, cx.OneShot())
    for thing in (tile, tile.device, chip, history, cx.read(KEY, tile, chip)):
        assert len(repr(thing)) < 1200 and "\n" not in repr(thing)
        assert len(thing._repr_html_()) < 40_000 and "array(" not in repr(thing)
    assert "float32[2, 2, 1, 150, 40]" in repr(chip) and "MB" in chip._repr_html_()
    assert repr(cx.ADC(bits=6)) == "ADC(bits=6)" and "traced" not in repr(tile)
    said = []
    jax.jit(lambda s: said.append(repr(cx.Tile(noise=s))))(0.1)
    assert "float32[]" in said[0]


def test_a_history_is_a_data_frame():
    tile = cx.presets.ideal()
    _, one = cx.program(KEY, tile, jnp.eye(4), cx.Iterative(iterations=3))
    assert len(one.to_pandas()) == len(one.pulses)
    _, many = jax.vmap(lambda k: cx.program(k, tile, jnp.eye(4), cx.OneShot()))(jax.random.split(KEY, 5))
    assert many.to_pandas().index.names == ["chip", "iteration"] and len(many.to_pandas()) == 5
