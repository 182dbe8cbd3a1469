"""How tests have JAX compile: they compile much and run little, and so want programs early rather than fast."""

import mmap
from pathlib import Path

import jaxlib


def known(flag: str) -> bool:
    """Whether XLA has such a flag; one that it does not know ends the process."""
    name = flag.removeprefix("--").split("=")[0].encode()
    for library in Path(jaxlib.__file__).parent.glob("libjax_common*"):
        with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
            if held.find(name) >= 0:
                return True
    return False


def flags(level: int) -> str:
    """Less of LLVM's optimisation, and the older emitters of loops where XLA still has them: half of compilation."""
    wanted = (f"--xla_backend_optimization_level={level}", "--xla_cpu_use_fusion_emitters=false")
    return " ".join(flag for flag in wanted if known(flag))


TESTS, PROGRAMS = flags(0), flags(1)  # for milliseconds of running, and for a minute
