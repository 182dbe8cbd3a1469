"""Files: what crossjax saves comes back bit for bit or not at all; what others wrote is read with suspicion."""

import gzip
import json
import os
import pickle
import zipfile

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

import crossjax as cx
from crossjax import images, nn, store
from crossjax.experiments.program_file import program_file
from crossjax.weight_files import load_matrices

TILE = cx.replace(cx.presets.standard(8, 8), device=cx.devices.pcm())
OTHER = cx.replace(TILE, **{"adc.bits": 4})
PLAIN = cx.replace(cx.presets.ideal(8, 8), dac=cx.DAC(), adc=cx.ADC())  # compiles faster


@cx.spec
class Own:
    """A law of the user's."""

    slope: float = 2.0


def bits(tree):
    """Structure, types and bytes of a pytree."""
    leaves, structure = jax.tree.flatten(tree)
    found = []
    for leaf in leaves:
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        raw = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        found.append((type(leaf), getattr(leaf, "dtype", None), raw.shape, raw.tobytes()))
    return structure, found


@pytest.fixture(scope="module")
def chip():
    return cx.program(jax.random.key(0), TILE, np.random.default_rng(0).normal(size=(12, 8)))[0]


@pytest.fixture(scope="module")
def file(chip, tmp_path_factory):
    path = tmp_path_factory.mktemp("chip") / "chip.safetensors"
    cx.save(path, chip, tile=TILE)
    return path


class Net(nnx.Module):
    def __init__(self, seed, strides=1, dtype=jnp.float32):
        rngs = nnx.Rngs(seed)
        self.conv = nnx.Conv(1, 8, (1,), strides=strides, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.fc = nnx.Linear(8, 8, param_dtype=dtype, rngs=rngs)
        self.head = nnx.Linear(8, 8, rngs=rngs)
        self.table = nnx.Embed(8, 8, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)


RULES = [("conv", None), ("table", PLAIN)]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    analog = nn.to_analog(Net(0), PLAIN, RULES, learn_ranges=True, report=None)
    analog.eval()
    now = nn.read(jax.random.key(1), nn.program(jax.random.key(0), analog, ranges="keep")[0], 60.0)
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    nn.save(path, now)
    return path, now, analog


# ------------------------------------------------------------------------------------ what was saved


def test_everything_comes_back_bit_for_bit(chip, tmp_path):
    key = jax.random.key(3)
    thing = {
        "tile": TILE, "chip": chip, "reading": cx.read(key, TILE, chip, 60.0),
        "devices": (cx.devices.hermes(), cx.devices.ideal()),
        "cells": [cx.bit_slices(2, 3), cx.SharedReference()], "methods": (cx.GDP(), cx.Iterative(), cx.OneShot()),
        "own": Own(3.0), "key": key, "legacy": jax.random.PRNGKey(1), "rbg": jax.random.key(0, impl="rbg"),
        "bfloat16": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3), "float8": jnp.ones(2, jnp.float8_e4m3fn),
        "numpy": np.random.rand(3, 2).T, "complex": np.full(2, 1j), "empty": jnp.zeros((0, 3), jnp.bfloat16),
        "swept": cx.replace(TILE, **{"adc.range": jnp.arange(1.0, 4.0)}), "numbers": (1, -0.0, 0.1, float("inf"), True),
        "text": 'a"sha256":"0', "none": None, "__metadata__": jnp.ones(1), "a.b": jnp.ones(1), "a": {"b": jnp.zeros(1)},
    }  # fmt: skip
    cx.save(tmp_path / "t", thing)
    assert bits(cx.load(tmp_path / "t")) == bits(thing)
    for name, preset in cx.presets.PRESETS.items():
        cx.save(tmp_path / name, preset())
        assert cx.load(tmp_path / name, tile=preset()) == preset()
    assert sorted(os.listdir(tmp_path)) == sorted(["t", *cx.presets.PRESETS])


def test_double_precision_is_kept_or_refused(tmp_path):
    with jax.enable_x64(True):
        wide = cx.replace(TILE, noise=jnp.asarray(0.1))
        cx.save(tmp_path / "t", wide)
        assert bits(cx.load(tmp_path / "t")) == bits(wide)
    with pytest.raises(ValueError, match="float64 arrays, which this process would round"):
        cx.load(tmp_path / "t")


def test_a_chip_knows_its_hardware(chip, file, tmp_path):
    assert bits(cx.load(file, tile=TILE)) == bits(chip)
    in_use = jax.tree.map(jnp.asarray, cx.replace(TILE, **{"adc.range": 3.0, "dac.range": 2.0}))
    assert bits(cx.load(file, tile=in_use)) == bits(chip)  # settings, and numbers of another kind
    for other, what in (
        (OTHER, "adc.bits is 8 there and 4 here"),
        (cx.replace(TILE, adc=None), "adc is ADC there and None here"),
        (cx.replace(TILE, **{"device.g_max": 24.9}), "device.g_max is 25.0 there and 24.9 here"),
        (cx.replace(TILE, cell=cx.SharedReference()), "cell is Pairs there and SharedReference here"),
    ):
        with pytest.raises(ValueError, match=rf"chip\.safetensors is of other hardware: {what}"):
            cx.load(file, tile=other)
    cx.save(tmp_path / "bare", chip)
    with pytest.raises(ValueError, match="does not say which hardware"):
        cx.load(tmp_path / "bare", tile=TILE)
    cx.save(tmp_path / "both", {"tile": TILE, "chip": chip})
    with pytest.raises(ValueError, match=r"adc\.bits"):
        cx.load(tmp_path / "both", tile=OTHER)


def test_no_flipped_bit_is_read(file, network, tmp_path):
    rng = np.random.default_rng(0)
    for path, read in ((file, cx.load), (network[0], lambda p: nn.load(p, network[2]))):
        raw = path.read_bytes()
        header = 8 + int.from_bytes(raw[:8], "little")
        places = [*range(8), *rng.integers(0, header, 40), *rng.integers(header, len(raw), 40), len(raw) - 1]
        for n, at in enumerate(places):
            broken = bytearray(raw)
            broken[at] ^= 1 << n % 8
            (tmp_path / "broken").write_bytes(broken)
            with pytest.raises(ValueError, match=r"broken (is damaged|is truncated|was not written)") as caught:
                read(tmp_path / "broken")
            assert "\n" not in str(caught.value)
        for content in (b"", raw[:4], raw[: header - 5], raw[:-1], raw + b"\0", b"\x89PNG\r\n" * 20):
            (tmp_path / "broken").write_bytes(content)
            with pytest.raises(ValueError, match="broken "):
                read(tmp_path / "broken")


def test_classes_are_found_never_imported(tmp_path, monkeypatch):
    def local():
        @cx.spec
        class Hidden:
            x: float = 1.0

        return Hidden

    hidden = local()
    cx.save(tmp_path / "hidden", hidden(4.0))
    with pytest.raises(ValueError, match=r"needs the spec class .*Hidden of .*test_files: import that module, or give"):
        cx.load(tmp_path / "hidden")
    assert cx.load(tmp_path / "hidden", types=[hidden]) == hidden(4.0)
    for name in ("wave:open", "os:system", "builtins:eval", "crossjax.store:save", "crossjax.tiles.grid:Grid"):
        monkeypatch.setattr(store, "encode", lambda *_, name=name: {"spec": name, "fields": {}})
        store.write(tmp_path / "evil", "thing", None)
        with pytest.raises(ValueError, match="needs the spec class"):
            cx.load(tmp_path / "evil")
    monkeypatch.undo()
    monkeypatch.setattr(store, "FORMAT", 2)
    cx.save(tmp_path / "newer", TILE)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="is of format 2, and this crossjax reads format 1"):
        cx.load(tmp_path / "newer")


def test_what_cannot_be_loaded_is_not_saved(chip, tmp_path):
    path = tmp_path / "x"
    for thing, kind, message in (
        ({"laws": (1, [abs])}, TypeError, r"laws\.1\.0 cannot be saved: it is a builtins"),
        (Net, TypeError, "this cannot be saved"),
        (nnx.Linear(1, 1, rngs=nnx.Rngs(0)), TypeError, r"use crossjax\.nn\.save"),
        (np.array([None]), TypeError, "an array of object"),
        ({1: 2}, TypeError, "cannot be saved"),
        (cx.replace(chip, **{"cells.g": chip.cells.g.at[0].set(-1.0)}), ValueError, "negative or not finite"),
        (cx.replace(chip, **{"cells.g": chip.cells.g.at[0].set(jnp.nan)}), ValueError, "negative or not finite"),
    ):
        with pytest.raises(kind, match=message):
            cx.save(path, thing)
    with pytest.raises(TypeError, match="this is traced: save outside of jit"):
        jax.jit(lambda a: cx.save(path, a))(1.0)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        cx.save(tmp_path / "absent" / "x", TILE)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        nn.save(tmp_path / "absent" / "x", Net(0))
    with pytest.raises(FileNotFoundError, match="no file at"):
        cx.load(path)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------- networks


def test_a_network_is_loaded_into_its_digital_model(network):
    path, now, analog = network
    for model in (Net(5), analog):
        again = nn.load(path, model)
        assert bits(nnx.state(again)) == bits(nnx.state(now)) and nnx.graphdef(again) == nnx.graphdef(now)


def test_networks_of_another_kind_are_refused(network, file, tmp_path):
    path, now, _ = network
    other = nn.to_analog(Net(0), cx.replace(PLAIN, **{"adc.bits": 4}), RULES, learn_ranges=True, report=None)
    wider = Net(0)
    wider.head = nnx.Linear(8, 9, rngs=nnx.Rngs(0))
    for model, message in (
        (other, r"fc is on other hardware, adc\.bits is 8 there and 4 here"),
        (Net(0, strides=2), r"conv\.strides is 1 there and 2 here"),
        (Net(0, dtype=jnp.bfloat16), r"fc\.kernel is float32\[8, 8\] there and bfloat16\[8, 8\] here"),
        (wider, r"head\.kernel is float32\[8, 8\] there and float32\[8, 9\] here"),
        (nnx.Linear(8, 8, rngs=nnx.Rngs(0)), "another structure: it lacks the variable bias, kernel; it adds"),
    ):
        with pytest.raises(ValueError, match=rf"network\.safetensors is of .*{message}"):
            nn.load(path, model)
    with pytest.raises(ValueError, match=r"holds no network: use crossjax\.load"):
        nn.load(file, Net(0))
    with pytest.raises(ValueError, match=r"holds a network: use crossjax\.nn\.load"):
        cx.load(path)
    torn = nnx.clone(now)
    held = torn.fc.dot_general.chip
    held.set_value(cx.replace(held.get_value(), shape=(8, 4)))
    with pytest.raises(ValueError, match="fc has a chip of"):
        nn.save(tmp_path / "x", torn)
    with pytest.raises(TypeError, match=r"keeps flax\.nnx modules, got Tile"):
        nn.save(tmp_path / "x", TILE)


# ------------------------------------------------------------------------------- what others wrote


def npy_header(text, raw):
    return raw[:10] + text.encode().ljust(117) + b"\n" + raw[128:]


def hostile(folder):
    np.save(folder / "good.npy", np.ones((8, 4), np.float32))
    raw = (folder / "good.npy").read_bytes()
    start = "{'descr': '<f4', 'fortran_order': False, 'shape': "
    yield "huge.npy", npy_header(f"{start}(2000000, 500000), }}", raw), "takes 4,000,000,000,000 bytes, and 128 are"
    yield "smaller.npy", npy_header(f"{start}(8, 3), }}", raw), "takes 96 bytes, and 128 are there"
    yield "token.npy", npy_header(f"{start}((8, 4, }}", raw), "truncated or not"
    np.savez(folder / "locked.npz", w=np.ones((3, 3)))
    locked = bytearray((folder / "locked.npz").read_bytes())
    locked[6] |= 1
    locked[locked.find(b"PK\x01\x02") + 8] |= 1
    yield "locked.npz", bytes(locked), "encrypted member 'w.npy'"
    with zipfile.ZipFile(folder / "packed.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", raw)
    packed = bytearray((folder / "packed.npz").read_bytes())
    packed[45] ^= 0xFF
    yield "deflate.npz", bytes(packed), "truncated or not"
    with zipfile.ZipFile(folder / "text.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    yield "text.npz", (folder / "text.npz").read_bytes(), "is no .npy array"
    save_file({"a.weight": np.ones((2, 3), ml_dtypes.float8_e4m3fn)}, folder / "f8.safetensors")
    yield "f8.safetensors", (folder / "f8.safetensors").read_bytes(), "F8_E4M3 numbers in 'a.weight'"
    yield "deep.safetensors", (10**6).to_bytes(8, "little") + b"[" * 10**6, "truncated or not"


def test_hostile_files_end_in_one_line(tmp_path):
    for name, content, message in hostile(tmp_path):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            load_matrices(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_an_archive_may_not_unpack_to_a_hundred_times_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr("crossjax.tensors.UNPACKED", 2**20)
    np.savez_compressed(tmp_path / "zeros.npz", w=np.zeros((1024, 1024), np.float32))
    with pytest.raises(ValueError, match=r"zeros\.npz unpacks to 4 MiB, more than the 1 MiB that are allowed.*unpack"):
        load_matrices(tmp_path / "zeros.npz")
    np.savez_compressed(tmp_path / "noise.npz", w=np.random.rand(512, 512))
    assert load_matrices(tmp_path / "noise.npz").weights == 512**2


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"cnumpy.f2py.__main__\nmain\n.", r"it wants numpy\.f2py\.__main__\.main"),
        (b"cnumpy.ma.core\n_reconstruct\n.", r"it wants numpy\.ma\.core\._reconstruct"),
        (b"cnumpy\nload\n.", r"it wants numpy\.load"),
        (b"]r\xff\xff\xff\x7f.", "it numbers an object 2147483647"),
        (b"\x80\x04B\xff\xff\xff\x7fx.", "truncated or not a CIFAR-10 batch"),
        (pickle.dumps({b"data": [[-1]], b"labels": [1]}), "truncated or not a CIFAR-10 batch"),
    ],
)
def test_the_pickle_gate_is_exact(tmp_path, content, why):
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(ValueError, match=rf"batch is truncated or not a CIFAR-10 batch: .*{why}|{why}"):
        images._cifar_batch(tmp_path / "batch", "")


def test_a_gzip_file_is_read_to_its_published_size_only(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_LARGEST", 1000)
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(ValueError, match=r"x\.gz unpacks to more than 1,000 bytes"):
        images._idx(tmp_path / "x.gz", "", False)


# -------------------------------------------------------------------------- which matrices, which way


def wide(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def read(folder, layout=None, suffix=".safetensors", **options):
    tensors = options.pop("tensors")
    path = folder / f"net{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else np.savez(path, **tensors)
    return load_matrices(path, layout, **options)


def test_names_and_biases_tell_the_layout(tmp_path):
    torch = {
        "fc.weight": wide(5, 7),
        "fc.bias": wide(5),
        "conv.weight": wide(8, 3, 3, 3),
        "a.in_proj_weight": wide(6, 2),
    }
    flax = {"d/kernel": wide(7, 5), "query/kernel": wide(8, 2, 3), "query/bias": wide(2, 3), "c/kernel": wide(3, 2, 4)}
    haiku = {"l.w": wide(3, 4), "l.b": wide(4)}
    found = read(tmp_path, tensors=torch | flax | haiku)
    assert {n: w.shape for n, w in found.matrices.items()} == {
        "fc.weight": (7, 5), "conv.weight": (27, 8), "a.in_proj_weight": (2, 6),
        "d/kernel": (7, 5), "query/kernel": (8, 6), "c/kernel": (6, 4), "l.w": (3, 4),
    }  # fmt: skip
    assert found.layouts["fc.weight"] == "torch, by its name" and found.layouts["l.w"] == "jax, by its bias"
    np.testing.assert_array_equal(found.matrices["fc.weight"], torch["fc.weight"].T)
    assert read(tmp_path, suffix=".npz", tensors={"a": wide(3, 4)}).layouts == {"a": "jax, assumed"}
    assert read(tmp_path, suffix=".npz", tensors=torch | {"a": wide(3, 4)}).layouts["a"] == "torch, assumed"


def test_what_nothing_tells_is_asked(tmp_path):
    with pytest.raises(ValueError, match=r"'proj' of shape \(3, 4\).*pass --layout torch or --layout jax"):
        read(tmp_path, tensors={"fc.weight": wide(5, 7), "proj": wide(3, 4)})
    gpt2 = {"c_attn.weight": wide(4, 12), "c_attn.bias": wide(12)}
    with pytest.raises(
        ValueError, match=r"called as in torch's layout, but its shape is \(4, 12\) and its bias has 12"
    ):
        read(tmp_path, tensors=gpt2)
    assert read(tmp_path, "jax", tensors=gpt2).matrices["c_attn.weight"].shape == (4, 12)
    with pytest.raises(ValueError, match="layout must be one of"):
        read(tmp_path, "tf", tensors=gpt2)


def test_what_is_not_multiplied_is_left_out_unless_named(tmp_path):
    tables = {
        "wte.weight": wide(9, 4), "wpe.weight": wide(8, 4), "model.embed_tokens.weight": wide(9, 4),
        "cls_token": wide(1, 1, 4), "pos_embed": wide(1, 8, 4), "tok.embedding": wide(9, 4),
        "rel.relative_attention_bias.weight": wide(8, 2), "queries": wide(1, 8, 4), "c.weight_v": wide(3, 4),
        "q.bias": wide(2, 3),
    }  # fmt: skip
    products = {
        "patch_embed.proj.weight": wide(4, 3, 2, 2), "time_embedding.linear_1.weight": wide(4, 4),
        "embed.weight": wide(4, 3), "embed.bias": wide(4), "lm_head.weight": wide(9, 4), "embed_out.weight": wide(9, 4),
        "unembed.weight": wide(9, 4),
    }  # fmt: skip
    found = read(tmp_path, tensors=tables | products)
    assert set(found.matrices) == set(products) - {"embed.bias"} and set(tables) < set(found.skipped)
    assert found.skipped["wte.weight"] == "looked up or added, not multiplied"
    found = read(tmp_path, tensors=tables | products, include=["wte", "^lm_head"], exclude=["head"])
    assert {n: w.shape for n, w in found.matrices.items()} == {"wte.weight": (9, 4)}  # a token, one word line
    assert found.skipped["lm_head.weight"] == "excluded" and found.skipped["embed.weight"] == "not included"
    for options, message in (
        ({"exclude": ["nonesuch"]}, "--exclude 'nonesuch' matches no matrix"),
        ({"include": ["lm_head", "bias$"]}, "--include 'bias\\$' matches no matrix"),
        ({"include": ["*.weight"]}, "is not a regular expression"),
        ({"exclude": ["."]}, "every matrix is left out"),
    ):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, tensors=products, **options)


def test_a_run_says_what_it_assumed_and_survives_any_name(tmp_path, capsys):
    np.savez(tmp_path / "net.npz", **{r"$\frac{a$": wide(8, 8), "x" * 300: wide(8, 8), "wte": wide(9, 8)})
    out = program_file(tmp_path / "net.npz", tile="ideal", method="one-shot", out=tmp_path / "out")
    result = json.loads((out / "result.json").read_text())
    assert result["layouts"][r"$\frac{a$"] == "jax, assumed" and result["skipped"] == {
        "wte": "looked up or added, not multiplied"
    }
    assert len(result["notes"]) == 2 and "taken as (inputs, outputs)" in result["notes"][0]
    assert len(result["inputs"]["sha256"]) == 64 and "--include takes them in" in "".join(
        capsys.readouterr().out.split("\n")
    )
