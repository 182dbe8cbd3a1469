"""A run of ``crossjax bench`` beside the last committed one.

crossjax bench --out runs/bench && python -m benchmarks.compare runs/bench
"""

import json
import sys
from pathlib import Path

COMMITTED = Path(__file__).parent / "results" / "core.json"
SLOWER = 1.25  # times the committed ratio: noise of a busy machine stays below


def figures(path):
    """Ratios to the floor by name."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return {f["name"]: f["ours"] for f in found["figures"] if f["name"].endswith("_ratio")}


def main(run):
    now, before = figures(Path(run) / "result.json"), figures(COMMITTED)
    print(f"{'work':40s} {'committed':>10s} {'now':>10s}")
    slower = []
    for name, ratio in now.items():
        old = before.get(name)
        print(f"{name:40s} {'' if old is None else f'{old:.2f}':>10s} {ratio:10.2f}")
        if old is not None and ratio > SLOWER * old:
            slower.append(name)
    if slower:
        raise SystemExit(f"slower than {SLOWER} times the committed ratio: {', '.join(slower)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
