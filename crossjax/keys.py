"""Keys and draws for parts of your own: one key per effect, so that two effects never share noise.

A part that draws by `named(key, "its name")` moves the draws of no other, and a `normal` number costs a nanosecond. All
of it works inside jit, vmap and scan, where draws under vmap equal those in a loop.
"""

from crossjax._random import all_named, named, normal, numbered, split, uniform

__all__ = ["all_named", "named", "normal", "numbered", "split", "uniform"]
