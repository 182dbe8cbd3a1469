"""Pages and numbers of the documentation that are made while it is built, so that none can be out of date.

* notebooks, as they were committed, with their plots;
* a page for every public module, one entry a public name;
* the command line's own help;
* ``{{ … }}`` in pages marked ``numbers: true``: figures and tables of ``benchmarks/results``;
* pictures of ``docs/plots``, one a file, each by the code that the page shows.
"""

import contextlib
import dataclasses
import importlib
import inspect
import io
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jinja2
import nbformat
import numpy as np
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

import crossjax
from crossjax._show import short

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
MODULES = (
    "crossjax", "crossjax.presets", "crossjax.devices", "crossjax.circuits", "crossjax.wires", "crossjax.tiles",
    "crossjax.programming", "crossjax.strategies", "crossjax.nn", "crossjax.nn.models", "crossjax.nn.language",
    "crossjax.nn.binary", "crossjax.training", "crossjax.pulsed", "crossjax.insitu", "crossjax.cam", "crossjax.hdc",
    "crossjax.photonic", "crossjax.interop", "crossjax.plot", "crossjax.keys", "crossjax.images", "crossjax.features",
    "crossjax.text",
)  # fmt: skip
INTEROP = ("aihwkit", "torch", "linen", "equinox", "spice")


def on_files(files, config):
    """The pages that are no files."""
    made = {f"api/{name.removeprefix('crossjax.')}.md": api(name) for name in MODULES}
    made["command-line.md"] = command_line()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, images = notebook(path)
        made[f"notebooks/{path.stem}.md"] = text
        made |= {f"notebooks/{name}": data for name, data in images.items()}
    made |= {f"pictures/{name}": data for name, data in pictures().items()}
    made["pictures/quickstart.png"] = (ROOT / "notebooks" / "quickstart.png").read_bytes()
    made |= {f"results/{path.relative_to(RESULTS)}": path.read_bytes() for path in RESULTS.rglob("*.png")}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Numbers in their places."""
    if not page.meta.get("numbers"):
        return markdown
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    return environment.from_string(markdown).render(
        result=result, figures=figures, table=table, mean=np.mean, sd=spread, results=RESULTS, aihwkit=aihwkit_table,
        bench=bench_table, peers=peer_table, programming=programming_table, reproduced=reproduced,
        result_first=lambda: read("core.json")["first_result"], networks=network_table, in_situ=in_situ_table,
        searches=search_table, strategy_searches=strategy_searches, devices=crossjax.devices, tile=crossjax.Tile(), peer=read("aihwkit.json"),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------ API


def public(name):
    """Names of a module that are public, in its own order."""
    module = importlib.import_module(name if name != "crossjax.wires" else "crossjax.circuits.wires")
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    return [
        n for n, v in vars(module).items()
        if not n.startswith("_") and getattr(v, "__module__", None) == module.__name__ and (inspect.isclass(v) or callable(v))
    ]  # fmt: skip


def api(name):
    """One module's page: its docstring, and every public name."""
    path = name if name != "crossjax.wires" else "crossjax.circuits.wires"
    module = importlib.import_module(path)
    doc = inspect.getdoc(module) or ""
    lines = [f"# {name}", "", "```text", doc, "```", ""]
    names = public(name) if name != "crossjax.interop" else []
    for entry in names:
        value = getattr(module, entry)
        if inspect.ismodule(value):
            known = [m for m in MODULES if m.split(".")[-1] == entry]
            link = f"[`{value.__name__}`]({known[0].removeprefix('crossjax.')}.md)" if known else f"`{value.__name__}`"
            lines += [f"**{entry}**: {link}", ""]
        elif str(getattr(value, "__module__", "")).startswith("crossjax") and hasattr(value, "__qualname__"):
            lines += entry_of(path, entry, value)
        else:
            lines += [f"## {entry} {{ #{path}.{entry} }}", "", f"```text\n{constant(value)}\n```", ""]
    for inner in INTEROP if name == "crossjax.interop" else ():
        lines += interop(f"{name}.{inner}")
    return "\n".join(lines)


def interop(name):
    """A section of one bridge, with the names that only it has."""
    module = importlib.import_module(name)
    lines = [f"## {name}", "", "```text", inspect.getdoc(module) or "", "```", ""]
    for entry in module.__all__:
        lines += entry_of(name, entry, getattr(module, entry), level=3)
    return lines


def entry_of(path, entry, value, level=2):
    """One class or function, documented where it is defined, under the name that users write."""
    home = f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else f"{path}.{entry}"
    anchor = f'<a id="{path}.{entry}"></a>' if home != f"{path}.{entry}" else ""
    options = ["    options:", f"      heading_level: {level}", f"      heading: {entry}"]
    return [anchor, "", f"::: {home}", *options, "", *built(entry, value), ""]


def built(name, value):
    """How a spec is built, with its defaults."""
    if not (inspect.isclass(value) and dataclasses.is_dataclass(value)):
        return []
    said = []
    for field in dataclasses.fields(value):
        none = field.default is dataclasses.MISSING
        said.append(field.name if none else f"{field.name}={short(field.default, 1)}")
    return ["```python", *textwrap.wrap(f"{name}({', '.join(said)})", 100, subsequent_indent="    "), "```"]


def constant(value):
    return ", ".join(map(str, value)) if isinstance(value, dict | tuple | list) else str(value)


def command_line():
    """What every command says of itself."""
    from crossjax import cli

    lines = ["# Command line", "", "```text", help_of([]), "```", ""]
    for name in cli.COMMANDS:
        lines += [f"## crossjax {name}", "", "```text", help_of([name]), "```", ""]
    return "\n".join(lines)


def help_of(arguments):
    from crossjax import cli

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        cli._parse([*arguments, "--help"])
    return re.sub(r"\x1b\[[0-9;]*m", "", said.getvalue()).rstrip()


# ------------------------------------------------------------------------------------------ notebooks, pictures


def notebook(path):
    """A notebook's Markdown, and its pictures by name."""
    exporter = MarkdownExporter()
    text, resources = exporter.from_notebook_node(nbformat.read(path, as_version=4))
    images = {f"{path.stem}_{name}": data for name, data in resources["outputs"].items()}
    for name in resources["outputs"]:
        text = text.replace(f"({name})", f"({path.stem}_{name})")
    return re.sub(r"<style scoped>.*?</style>", "", text, flags=re.DOTALL), images


def pictures():
    """Every file of docs/plots, run: one picture each, in one process."""
    folder = ROOT / "docs" / "plots"
    code = (
        "import runpy, sys, io, pathlib\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.py')):\n"
        "    axes = runpy.run_path(str(path))['axes']\n"
        "    figure = (axes if hasattr(axes, 'figure') else axes[0]).figure\n"
        "    figure.savefig(pathlib.Path(sys.argv[2]) / f'{path.stem}.png', dpi=110, bbox_inches='tight')\n"
    )
    import tempfile

    with tempfile.TemporaryDirectory() as out:
        subprocess.run([sys.executable, "-c", code, str(folder), out], check=True)
        return {path.name: path.read_bytes() for path in Path(out).glob("*.png")}


# -------------------------------------------------------------------------------------------------- numbers


def read(name):
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def result(folder):
    """Figures of a run by name."""
    return {f["name"]: f["ours"] for f in read(f"{folder}/result.json")["figures"]}


def spread(values):
    return np.std(values, ddof=1)


def table(head, rows):
    """Markdown of a table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def figures(folder):
    """A run's figures, the paper's beside ours."""
    rows = []
    for f in read(f"{folder}/result.json")["figures"]:
        paper = "" if f["paper"] is None else f"{f['paper']:g}"
        if f["ours"] is None:  # not measured in this run
            continue
        ours = f"{f['ours']:.4g}"
        rows.append([f"`{f['name']}`", paper, ours, f["unit"]])
    return table(["figure", "paper", "ours", "unit"], rows)


def reproduced(folder):
    """A run's figures, its pictures, and what it was run on."""
    found = read(f"{folder}/result.json")
    parts = [figures(folder), ""]
    for path in sorted((RESULTS / folder).glob("*.png")):
        parts += [f"![{path.stem}](results/{folder}/{path.name})", ""]
    seconds, version = found["seconds"], found["versions"]["jax"]
    parts.append(f"{seconds:,.0f} s on {found['device']}, jax {version}; `benchmarks/results/{folder}`.")
    return "\n".join(parts)


def programming_table():
    found, rows = read("programming.json"), []
    names = {
        "one shot": "one shot, published σ_P",
        "iterative": "iterative",
        "GDP": "GDP",
        "perfect": "perfect weights",
    }
    for name, label in names.items():
        r = found[name]
        rows.append([label, f"{np.mean(r['mvm_error']):.4f} ± {spread(r['mvm_error']):.4f}",
                     f"{np.mean(r['pulses']):.1f}", f"{np.mean(r['mvms']):,.0f}"])  # fmt: skip
    return table(["", "MVM error", "pulses a weight", "MVMs of reading"], rows)


def bench_table():
    rows = [
        [r["work"], f"{r['floor_ms']:.1f}", f"{r['draws_ms']:.1f}", f"{r['ours_ms']:.1f}", f"{r['ratio']:.2f}×",
         f"{r['ratio_to_both']:.2f}×"]
        for r in read("core.json")["rows"]
    ]  # fmt: skip
    return table(["work", "products, ms", "draws, ms", "crossjax, ms", "times its products", "times both"], rows)


def peer_table():
    rows = [
        [peer, work, f"{t['ms']:.1f}", f"{t['product_ms']:.2f}", f"{t['ms'] / t['product_ms']:.1f}×"]
        for peer, works in read("core.json")["peers"].items() for work, t in works.items() if t["ms"] is not None
    ]  # fmt: skip
    return table(["peer", "work", "ms", "its own plain products, ms", "times its products"], rows)


def network_table():
    found, rows = read("networks.json"), []
    for name, r in found["steps"].items():
        rows.append([f"training step, {name}", f"{1e3 * r['digital']:.2f}", f"{1e3 * r['analog']:.2f}",
                     f"{r['analog'] / r['digital']:.2f}×"])  # fmt: skip
    for name, r in found["evaluation"].items():
        rows.append([f"ResNet-20, 32 chips × 5 times, {name}", f"{1e3 * r['digital']:.0f}", f"{1e3 * r['chips']:.0f}",
                     f"{r['chips'] / r['digital']:.2f}×"])  # fmt: skip
    return table(["work", "digital, ms", "analog, ms", "ratio"], rows)


def in_situ_table():
    rows = [
        [f"{r['work']}, rate {r['rate']:g}", f"{r['ours']:.1f}", f"{r['product']:.2f}",
         f"{r['aihwkit']:.1f}" if "aihwkit" in r else ""]
        for r in read("in_situ.json")["rows"] if "rate" in r
    ]  # fmt: skip
    return table(["work", "crossjax", "product", "aihwkit"], rows)


def search_table():
    rows = [
        [name, *(f"{r[k]:.1f}" for k in ("search ms", "distances ms", "products ms")), f"{r['loop ms']:.0f}"]
        for name, r in read("hdc.json")["speed"].items()
    ]
    return table(
        [
            "1,000 queries × 26 rows × 4,000 cells of 3 bits",
            "search in subarrays that vote, ms",
            "distances of whole rows, ms",
            "bare products, ms",
            "NumPy loop, ms",
        ],
        rows,
    )


def strategy_searches():
    """Our search and the peer's for the best strategy, judged alike."""
    found = read("strategies_peer.json")
    judged = {"gradient descent, crossjax (compilation included)": found["ours"]}
    if found["peer"]:
        judged["`WeightProgrammingOptimizer`, aihwkit"] = min(found["peer"], key=lambda r: r["error"])
    rows = [
        [name, f"{100 * r['error']:.3f} %", f"{r['strategy']['factors'][0]:.2f}", f"{r['seconds']:,.1f}"]
        for name, r in judged.items()
    ]
    if not found["peer"]:
        rows.append(["`WeightProgrammingOptimizer`, aihwkit", "no generation finished", "", f"{found['limit']:,.0f}"])
    return table(["search", "error", "F", "s"], rows)


def aihwkit_table():
    """MVM errors of the peer and of ours, by configuration and time."""
    from crossjax.plot import span

    rows = []
    for name, found in read("aihwkit.json")["configs"].items():
        for k, t in enumerate(found["times"]):
            cells = []
            for who in ("aihwkit", "crossjax, as aihwkit does it", "crossjax"):
                a = np.asarray(found[who])[:, k]
                cells.append(f"{a.mean():.4f} ± {a.std(ddof=1):.4f}")
            rows.append([name if k == 0 else "", span(t), *cells])
    return table(["configuration", "time", "aihwkit", "crossjax, aihwkit's way", "crossjax"], rows)
