"""The page of a report: what was found, tables, plots with captions, and what its words mean."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TERMS = {
    "MVM error": "‖ŷ − y‖ / ‖y‖ over a batch of inputs: ŷ of the chip with all its noise, y of the digital matrix.",
    "weight error": "standard deviation of the true weights' errors over the largest weight; read noise apart.",
    "±": "one standard deviation of the chips, or seeds, around their mean; not the error of the mean.",
    "band": "one standard deviation of the chips, or seeds, around their mean, unless the caption says otherwise.",
    "accuracy": "share of test examples that the network labels rightly.",
    "digital": "the same network in floating point, without any hardware: what the chips are measured against.",
    "GDC": "global drift compensation: one digital factor per tile, found with test inputs at every time.",
    "AdaBS": "adaptive batch-norm statistics: batch norms measured again on the chip at every time.",
    "pulses a weight": "write pulses that all devices had, divided by the weights.",
    "MVMs": "time of reading while programming, in matrix-vector products of one tile.",
    "first read": "the moment t_0 after programming at which the published drift law begins; times count from it.",
    "perplexity": "exp of the cross-entropy per word, in nats: lower is better.",
    "cross-entropy": "mean of −log(probability of the right answer), in nats: lower is better.",
}

Rows = Sequence[Sequence[str]]


def terms(text: str) -> dict[str, str]:
    """The words of `TERMS` that a text uses, with their meaning."""
    folded = text.lower()
    found = {word: said for word, said in TERMS.items() if word.lower() in folded}
    if "standard error" in folded and "±" in found:  # the tables say which of them
        found["±"] = (
            "one standard error of the mean over paired runs where a title says so; else one standard deviation."
        )
    return found


def page(
    title: str, said: str, tables: Sequence[tuple[str, Sequence[str], Rows]], plots: Sequence[tuple[Path, str]],
    facts: dict[str, Any],
) -> str:  # fmt: skip
    """HTML that needs no other file.

    Args:
        title: of the page.
        said: what was done and found, in sentences.
        tables: (title, head, rows) of each.
        plots: (PNG file, caption) of each.
        facts: what else there is to know, as JSON has it.
    """
    parts = [f'<p class="said">{html.escape(said)}</p>'] if said else []
    for name, head, rows in tables:
        body = _cells("th", head) + "".join(_cells("td", row) for row in rows)
        parts.append(f"<h2>{html.escape(name)}</h2><table>{body}</table>")
    for file, caption in plots:
        data = base64.b64encode(file.read_bytes()).decode()
        image = f'<img alt="{html.escape(file.stem)}" src="data:image/png;base64,{data}">'
        parts.append(f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>")
    words = [said, *(caption for _, caption in plots)]
    for name, head, rows in tables:
        words += [name, *head, *(cell for row in rows for cell in row)]
    if used := terms(" ".join(words)):
        meant = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in used.items())
        parts.append(f"<h2>Words</h2><dl>{meant}</dl>")
    parts.append(f"<h2>Run</h2><pre>{html.escape(json.dumps(facts, indent=2, ensure_ascii=False))}</pre>")
    return _PAGE.format(title=html.escape(title), body="\n".join(parts))


def _cells(tag: str, row: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
 body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
 table {{ border-collapse: collapse; margin: 0 0 1rem; display: block; overflow-x: auto }}
 td, th {{ padding: .25rem .75rem; text-align: right }} tr + tr {{ border-top: 1px solid #ddd }}
 td:first-child, th:first-child {{ text-align: left }} .said {{ font-size: 1.1rem }}
 img {{ max-width: 100% }} figure {{ margin: 1rem 0 }} figcaption {{ color: #555; max-width: 46rem }}
 dt {{ font-weight: 600 }} dd {{ margin: 0 0 .5rem 1rem }} pre {{ background: #f6f6f6; padding: 1rem; overflow: auto }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""
