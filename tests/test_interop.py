"""Coming from elsewhere: aihwkit's configurations, networks of PyTorch, linen and Equinox."""

import json
import re
from pathlib import Path

import equinox as eqx
import flax.linen as linen_nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

import crossjax as cx
from benchmarks import aihwkit_peer
from crossjax.hardware import facts
from crossjax.interop import aihwkit, equinox, linen, torch
from crossjax.nn.language import LSTM

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
PEER = json.loads((Path(__file__).parent.parent / "benchmarks/results/aihwkit.json").read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------ aihwkit


def standard_errors_between(a, b):
    """The distance of two means of chips (chips, …), in standard errors of their difference."""
    return np.abs(a.mean(0) - b.mean(0)) / np.sqrt(a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b))


@pytest.mark.parametrize("name", ["PCM, ideal periphery, no compensation", "standard", "HERMES-like"])
def test_chips_of_an_aihwkit_configuration_err_as_aihwkits(name):
    """Its committed figures, with its own second conversion and drift compensation."""
    theirs = np.asarray(PEER["configs"][name]["aihwkit"])
    assert np.all(standard_errors_between(aihwkit_peer.ours(name, chips=8, their_way=True), theirs) < 4)


def test_the_committed_figures_agree_for_every_configuration():
    for name, kept in PEER["configs"].items():
        mine, theirs = (np.asarray(kept[who]) for who in ("crossjax, as aihwkit does it", "aihwkit"))
        assert np.all(standard_errors_between(mine, theirs) < 4), name


def test_without_its_second_conversion_the_errors_are_a_little_smaller():
    kept = PEER["configs"]["PCM, ideal periphery, no compensation"]
    ratio = np.mean(kept["crossjax"], 0) / np.mean(kept["aihwkit"], 0)
    assert np.all((ratio > 0.98) & (ratio < 1.0))


def test_all_presets_are_taken_or_say_why_not():
    refused = {}
    for name in aihwkit.presets():
        try:
            if name.endswith("PresetDevice"):
                aihwkit.pulsed(name)
            elif "UnitCell" not in name:
                inference = "noise_model" in aihwkit.complete(name) or name.startswith("Floating")
                (aihwkit.tile if inference else aihwkit.learning)(name)
        except ValueError as error:
            refused[name] = str(error)
    assert all(re.search("VectorUnitCell|TransferCompound", why) for why in refused.values())
    assert len(refused) == 18 and not [n for n in refused if "Inference" in n or "Standard" in n]


def test_devices_by_name_are_those_of_the_presets():
    names = {"ReRamES": "reram_es", "ReRamSB": "reram_sb", "Capacitor": "capacitor", "EcRam": "ecram", "PCM": "pcm",
             "EcRamMO": "ecram_mo", "Idealized": "idealized", "GokmenVlasov": "gokmen_vlasov",
             "ReRamArrayOM": "reram_om", "ReRamArrayHfO2": "reram_hfo2"}  # fmt: skip
    for theirs, ours in names.items():
        a, b = facts(aihwkit.pulsed(f"{theirs}PresetDevice")), facts(cx.pulsed.get(ours))
        differ = {k for k in a | b if (a.get(k) or None) != (b.get(k) or None)}
        assert differ <= {"reset_noise"}, theirs


@pytest.mark.parametrize("kind,prefix", [("v2", "TTv2"), ("chopped", "ChoppedTTv2"), ("agad", "AGAD")])
@pytest.mark.parametrize("device,name", [("reram_es", "ReRamES"), ("capacitor", "Capacitor"), ("ecram_mo", "EcRamMO")])
def test_settings_of_tiki_taka_are_those_of_the_presets(kind, prefix, device, name):
    ours = cx.insitu.from_preset(kind, device)
    theirs = aihwkit.learning(f"{prefix}{name}Preset", unsupported="report").hardware.scheme
    assert (ours.kind, ours.forget) == (theirs.kind, theirs.forget)
    for field in ("granularity", "chop", "tail"):
        assert float(getattr(ours, field)) == float(getattr(theirs, field))
    preset = aihwkit.complete(f"{prefix}{name}Preset")
    assert float(ours.fast_rate) == preset["device"]["fast_lr"]  # a train of theirs may be longer than ours can be
    assert float(theirs.fast_rate) * theirs.trains.longest == pytest.approx(
        preset["device"]["fast_lr"] * preset["update"]["desired_bl"]
    )


@pytest.mark.parametrize(
    "config,message",
    [
        ({"forward": {"inp_noise": 0.1}}, "no counterpart of forward.inp_noise"),
        ({"forward": {"out_nois": 0.1}}, "did you mean 'out_noise'"),
        ({"nose_model": None}, "did you mean 'noise_model'"),
        ("StandardHWATraining", "did you mean 'StandardHWATrainingPreset'"),
        ({"forward": {"out_res": 0.3}}, "whole number"),
        ({"noise_model": {"class": "MyNoiseModel"}}, "unknown class of aihwkit"),
        ("ReRamESPreset", "learning"),
        ({"noise_model": {"class": "ReRamWan2022NoiseModel"}}, None),
    ],
)
def test_what_aihwkit_has_and_we_do_not_is_said_in_one_line(config, message):
    if message is None:
        with pytest.raises(ValueError, match="after must be one of"):
            aihwkit.tile(config, after=7.0)
        return
    with pytest.raises(ValueError, match=message) as error:
        aihwkit.tile(config)
    assert "\n" not in str(error.value)


def perturbed(doc, where=()):
    """Every field of a complete configuration, with another value, by its path."""
    for name, value in doc.items():
        path = (*where, name)
        if isinstance(value, dict):
            yield from perturbed(value, path)
        elif isinstance(value, bool):
            yield path, not value
        elif isinstance(value, int | float):
            yield path, value * 2 + 0.125 if isinstance(value, float) else value + 2


NO_MATTER = (  # of training that was not asked for, or of what is off
    "clip.", "remap.", "modifier.", "backward.", "update.", "device.", "pre_post.", "mapping.weight_scaling_lr",
    "mapping.out_scaling_columnwise", "forward.nm_thres", "forward.ir_drop_g_ratio", "forward.w_noise",
    "forward.v_offset_w_min", "noise_model.prog_coeff_g_max_reference",
)  # fmt: skip


def test_no_field_of_a_configuration_is_dropped_in_silence():
    """Every number that is changed changes the hardware, or is noted, or refused."""
    doc = aihwkit.complete({"mapping": {"weight_scaling_omega": 1.0}}, "InferenceRPUConfig")
    plain = aihwkit.tile(doc, unsupported="report")
    silent = []
    for path, value in perturbed(doc):
        changed = json.loads(json.dumps(doc))
        inner = changed
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = value
        try:
            found = aihwkit.tile(changed, unsupported="report")
        except ValueError:
            continue
        if facts(found.tile) == facts(plain.tile) and found.tile.adc == plain.tile.adc and found.notes == plain.notes:
            silent.append(".".join(path))
    assert not [name for name in silent if not name.startswith(NO_MATTER)]


def test_dictionaries_without_classes_are_understood():
    """As dataclasses.asdict gives them."""

    def bare(doc):
        if isinstance(doc, list):
            return [bare(d) for d in doc]
        return {k: bare(v) for k, v in doc.items() if k != "class"} if isinstance(doc, dict) else doc

    for name in ("ReRamESPresetDevice", "CapacitorPresetDevice", "ReRamSBPresetDevice", "PCMPresetDevice"):
        assert facts(aihwkit.pulsed(bare(aihwkit.complete(name)))) == facts(aihwkit.pulsed(name))
    for name in ("TTv2ReRamESPreset", "AGADCapacitorPreset", "PCMPreset", "MixedPrecisionPCMPreset"):
        found = aihwkit.learning(bare(aihwkit.complete(name)), unsupported="report").hardware
        assert facts(found) == facts(aihwkit.learning(name, unsupported="report").hardware)


def test_what_is_left_out_is_listed():
    found = aihwkit.tile({"forward": {"inp_noise": 0.1, "out_noise": 0.02}}, largest=2.0, unsupported="report")
    assert found.notes == ("left out: forward.inp_noise = 0.1",)
    assert float(found.tile.noise) == pytest.approx(0.01) and float(found.tile.adc.range) == 6.0
    with pytest.raises(TypeError, match="dataclass or a dictionary"):
        aihwkit.tile(3)


def test_pairs_and_strategies_of_aihwkit():
    def cell(**converter):
        return aihwkit.tile({"noise_model": {"class": "PCMLikeNoiseModel", "g_converter": converter}}).tile.cell

    assert cell(**{"class": "DualPairConductanceConverter"}, f_lst=[1.0, 3.0]) == cx.Pairs((3.0, 1.0), "lsp_first")
    lines = [[0.0, 0.0, 0.0, 12.5, 25.0], [25.0, 12.5, 0.0, 0.0, 0.0]]
    one = cell(**{"class": "CustomPairConductanceConverter"}, f_lst=[1.0], g_lst=lines)
    np.testing.assert_allclose(one.encode(jnp.array([-1.0, 0.5])), [[0.0, 0.5], [1.0, 0.0]], atol=1e-6)
    with pytest.raises(ValueError, match="mirrored"):
        cell(**{"class": "CustomPairConductanceConverter"}, f_lst=[1.0], g_lst=[lines[0], lines[0]])


# ----------------------------------------------------------------------------------------------- networks


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def test_an_lstm_of_pytorch_by_its_equations(tmp_path):
    """torch.nn.LSTM: i, f, g, o = W_ih x + b_ih + W_hh h + b_hh, for each of our three cells."""
    sizes = {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}
    state = {f"rnn.{k}": RNG.normal(size=s).astype(np.float32) for k, s in sizes.items()}
    x = RNG.normal(size=(2, 6, 3)).astype(np.float32)
    h = c = np.zeros((2, 5))
    for n in range(6):
        gates = x[:, n] @ state["rnn.weight_ih_l0"].T + h @ state["rnn.weight_hh_l0"].T
        i, f, g, o = np.split(gates + state["rnn.bias_ih_l0"] + state["rnn.bias_hh_l0"], 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    save_file(state, tmp_path / "net.safetensors")
    net = torch.load(LSTM(3, 5, rngs=nnx.Rngs(0)), tmp_path / "net.safetensors", {"": torch.lstm("rnn")})
    zeros = jnp.zeros((2, 5))
    np.testing.assert_allclose(net(jnp.asarray(x), (zeros, zeros))[1][0], h, atol=2e-6)
    for kind in (nnx.LSTMCell, nnx.OptimizedLSTMCell):
        cell = torch.load(kind(3, 5, rngs=nnx.Rngs(0)), state, {"": torch.lstm("rnn")})
        carry = zeros, zeros
        for n in range(6):
            carry, y = cell(carry, jnp.asarray(x[:, n]))
        np.testing.assert_allclose(y, h, atol=2e-6)


def test_attention_of_pytorch_by_its_equations():
    """torch.nn.MultiheadAttention of 2 heads: softmax(q kᵀ / √d) v, heads side by side, then out_proj."""
    sizes = {"in_proj_weight": (24, 8), "in_proj_bias": (24,), "out_proj.weight": (8, 8), "out_proj.bias": (8,)}
    state = {f"attn.{k}": RNG.normal(size=s).astype(np.float32) for k, s in sizes.items()}
    x = RNG.normal(size=(5, 8)).astype(np.float32)
    q, k, v = np.split(x @ state["attn.in_proj_weight"].T + state["attn.in_proj_bias"], 3, axis=-1)
    heads = []
    for s in (slice(0, 4), slice(4, 8)):
        scores = np.exp(q[:, s] @ k[:, s].T / 2.0)
        heads.append(scores / scores.sum(-1, keepdims=True) @ v[:, s])
    wanted = np.concatenate(heads, -1) @ state["attn.out_proj.weight"].T + state["attn.out_proj.bias"]
    layer = nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(0))
    found = torch.load(layer, state, {"": torch.attention("attn")})(jnp.asarray(x)[None])[0]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


class Small(nnx.Module):
    def __init__(self, *, rngs):
        self.conv, self.norm = nnx.Conv(1, 2, (3, 3), rngs=rngs), nnx.BatchNorm(2, rngs=rngs)
        self.fc = nnx.Linear(32, 3, rngs=rngs)

    def __call__(self, x):
        return self.fc(self.norm(self.conv(x)).reshape(x.shape[0], -1))


def small_state():
    state = {"conv.weight": RNG.normal(size=(2, 1, 3, 3)), "conv.bias": RNG.normal(size=2)}
    state |= {f"bn.{k}": np.abs(RNG.normal(size=2)) for k in ("weight", "bias", "running_mean", "running_var")}
    return state | {"fc.weight": RNG.normal(size=(3, 32)), "fc.bias": RNG.normal(size=3), "bn.num_batches_tracked": 3}


def test_a_flattened_map_is_reordered_where_the_map_says_so():
    state = small_state()
    with pytest.raises(ValueError, match="flattened feature map"):
        torch.load(Small(rngs=nnx.Rngs(0)), state, {"norm": "bn"})
    net = torch.load(Small(rngs=nnx.Rngs(0)), state, {"norm": "bn", "fc": torch.dense("fc", flatten=(2, 4, 4))})
    net.eval()
    x = RNG.normal(size=(1, 4, 4, 1))
    padded = np.pad(x[0, :, :, 0], 1)
    maps = np.array([
        [[np.sum(padded[a : a + 3, b : b + 3] * state["conv.weight"][c, 0]) for b in range(4)] for a in range(4)]
        for c in range(2)
    ]) + state["conv.bias"][:, None, None]  # fmt: skip
    unit = (maps - state["bn.running_mean"][:, None, None]) / np.sqrt(state["bn.running_var"][:, None, None] + 1e-5)
    flat = (unit * state["bn.weight"][:, None, None] + state["bn.bias"][:, None, None]).ravel()  # channels first
    wanted = state["fc.weight"] @ flat + state["fc.bias"]
    np.testing.assert_allclose(net(jnp.asarray(x))[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda s: s.pop("fc.bias"), "nothing for fc.bias"),
        (lambda s: s.update(extra=np.zeros(2)), "no place for: extra"),
        (lambda s: s.update({"fc.weight": np.zeros((3, 31))}), "shape"),
        (lambda s: s.update({"fc.weight": np.full((3, 32), np.nan)}), "NaN"),
        (lambda s: s.update({"fx.weight": s.pop("fc.weight")}), "did you mean 'fx.weight'"),
        (lambda s: s.update({"fc.bias": "text"}), "array of numbers"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change, message):
    state = small_state()
    change(state)
    with pytest.raises(ValueError, match=message):
        torch.load(Small(rngs=nnx.Rngs(0)), state, {"norm": "bn", "fc": torch.dense("fc")})


def test_unknown_layers_and_pickles_are_refused(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'norm'"):
        torch.load(Small(rngs=nnx.Rngs(0)), small_state(), {"norn": "bn"})
    with pytest.raises(ValueError, match="save_file"):
        torch.load(Small(rngs=nnx.Rngs(0)), tmp_path / "net.pt")


def test_a_linen_network_computes_the_same_here():
    class Net(linen_nn.Module):
        @linen_nn.compact
        def __call__(self, x):
            x = linen_nn.relu(linen_nn.Dense(7)(x))
            return linen_nn.Dense(3)(linen_nn.LayerNorm()(x))

    class Same(nnx.Module):
        def __init__(self, *, rngs):
            self.first, self.norm = nnx.Linear(5, 7, rngs=rngs), nnx.LayerNorm(7, rngs=rngs)
            self.last = nnx.Linear(7, 3, rngs=rngs)

        def __call__(self, x):
            return self.last(self.norm(nnx.relu(self.first(x))))

    x = jnp.asarray(RNG.normal(size=(4, 5)))
    variables = Net().init(KEY, x)
    names = {"first": "Dense_0", "norm": "LayerNorm_0", "last": "Dense_1"}
    net = linen.load(Same(rngs=nnx.Rngs(0)), variables, names)
    np.testing.assert_allclose(net(x), Net().apply(variables, x), atol=1e-6)
    with pytest.raises(ValueError, match="did you mean 'Dense_1"):
        linen.load(Same(rngs=nnx.Rngs(0)), variables, names | {"last": "Dense_2"})


def test_equinox_networks_compute_the_same_here():
    theirs = eqx.nn.MLP(5, 3, 7, 2, key=KEY)
    ours = equinox.load(cx.nn.models.MLP((5, 7, 7, 3), rngs=nnx.Rngs(0)), theirs)
    x = jnp.asarray(RNG.normal(size=(4, 5)), jnp.float32)
    np.testing.assert_allclose(ours(x), jax.vmap(theirs)(x), atol=1e-6)
    cell = eqx.nn.LSTMCell(5, 4, key=KEY)
    mine = equinox.load(nnx.LSTMCell(5, 4, rngs=nnx.Rngs(0)), {"cell": cell}, {"": equinox.lstm("cell", None)})
    h, _ = cell(x[0], (jnp.zeros(4), jnp.zeros(4)))
    np.testing.assert_allclose(mine((jnp.zeros(4), jnp.zeros(4)), x[0])[1], h, atol=1e-6)
    gru = eqx.tree_at(lambda c: c.bias_n, eqx.nn.GRUCell(5, 4, key=KEY), jnp.zeros(4))
    mine = equinox.load(nnx.GRUCell(5, 4, rngs=nnx.Rngs(0)), gru, {"": equinox.gru("", None)})
    np.testing.assert_allclose(mine(jnp.zeros(4), x[0])[1], gru(x[0], jnp.zeros(4)), atol=1e-6)
    line = eqx.nn.Linear(5, 3, key=KEY)
    np.testing.assert_allclose(equinox.load(nnx.Linear(5, 3, rngs=nnx.Rngs(0)), line)(x), jax.vmap(line)(x), atol=1e-6)
    heads = eqx.nn.MultiheadAttention(2, 8, key=KEY)
    attend = nnx.MultiHeadAttention(2, 8, use_bias=False, decode=False, rngs=nnx.Rngs(0))
    attend, z = equinox.load(attend, {"a": heads}, {"": equinox.attention("a")}), jnp.asarray(RNG.normal(size=(3, 8)))
    np.testing.assert_allclose(attend(z[None])[0], heads(z, z, z), atol=1e-5)


def test_a_foreign_network_is_told_the_way():
    with pytest.raises(TypeError, match=r"crossjax\.interop\.equinox"):
        cx.nn.to_analog(eqx.nn.MLP(5, 3, 7, 2, key=KEY), cx.presets.pcm())
    with pytest.raises(TypeError, match=r"crossjax\.interop\.linen"):
        cx.nn.to_analog(linen_nn.Dense(3), cx.presets.pcm())
