"""``python -m benchmarks.core [--peers] [--out DIR]``: the same as ``crossjax bench``."""

import sys

from crossjax.cli import main

if __name__ == "__main__":
    main(["bench", *sys.argv[1:]])
