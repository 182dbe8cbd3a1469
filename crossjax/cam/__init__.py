"""Content-addressable memories: arrays that are asked which of their rows is most like a query.

    CAM ──write(levels)──► CAMChip ──read──► CAMReading ──search(query)──► the nearest row
                             ▲   │                     ├──matches(query)──► which rows match
                             └───┘                     └──currents(query)─► match-line currents, differentiable

>>> cam = cx.cam.CAM(bits=3, cell=cx.cam.FeFET(spread=0.03))
>>> chip, written = cx.cam.write(key, cam, levels)   # (rows, cells), whole numbers from 0 to 7
>>> found = cx.cam.search(key, cam, chip, queries)   # (…,) rows, for queries (…, cells)
"""

from crossjax.cam.cells import Absolute, BaseCell, Cell, FeFET, Hamming, PerLevel, Squared, Table
from crossjax.cam.match_lines import currents, matches, search
from crossjax.cam.memory import CAM, CAMChip, CAMReading, read, write

__all__ = [
    "CAM", "Absolute", "BaseCell", "CAMChip", "CAMReading", "Cell", "FeFET", "Hamming", "PerLevel", "Squared", "Table",
    "currents", "matches", "read", "search", "write",
]  # fmt: skip
