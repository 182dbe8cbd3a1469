"""The command line: ``crossjax quickstart``, ``program WEIGHTS``, ``reproduce PAPER``, ``bench``.

Bad input ends with one line on standard error and exit code 2, never with a traceback.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import tyro


def _quickstart(out: Path | None = None, chips: int = 8, seed: int = 0, force: bool = False) -> None:
    """Program a digits network onto HERMES chips three ways and follow it for a year.

    Args:
        out: folder for the results (default runs/quickstart).
        chips: chips in the population.
        seed: makes a run repeatable.
        force: replace an existing folder.
    """
    from crossjax.experiments.quickstart import quickstart

    quickstart(out, chips=chips, seed=seed, force=force)


def _program(
    weights: Annotated[Path, tyro.conf.Positional],
    tile: str = "hermes",
    method: str = "gdp",
    chips: int = 1,
    layout: Literal["torch", "jax"] | None = None,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Program all matrices and convolution kernels of a weight file onto chips.

    Embeddings and tables that are added (positions, tokens) are left out unless --include names them.

    Args:
        weights: a .npz, .npy or .safetensors file.
        tile: hardware: ideal, pcm, pcm_msp_lsp, hermes or standard.
        method: gdp, iterative or one-shot.
        chips: chips in the population.
        layout: torch for (out, in, …) tensors, jax for (…, in, out); default: what their names tell.
        include: regular expressions; only matrices in whose name one is found.
        exclude: regular expressions; no matrices in whose name one is found.
        seed: makes a run repeatable.
        out: folder for the results (default runs/program-NAME-METHOD).
        force: replace an existing folder.
    """
    from crossjax.experiments.program_file import program_file

    options: Any = {"layout": layout, "include": include, "exclude": exclude, "seed": seed, "out": out, "force": force}
    program_file(weights, tile=tile, method_name=method, chips=chips, **options)


def _bench(peers: bool = False, out: Path | None = None, force: bool = False) -> None:
    """Measure speed as ratios to the floor, in one run.

    Args:
        peers: also run the peers that are installed (aihwkit, aihwkit-lightning).
        out: folder for the results (default runs/bench).
        force: replace an existing folder.
    """
    import jax

    from crossjax.benchmarks.core import bench

    jax.config.update("jax_enable_compilation_cache", False)  # compile times as a user meets them first
    bench(out, peers=peers, force=force)


def _reproduce(
    paper: Annotated[Literal["joshi2020", "buchel2022"], tyro.conf.Positional],
    preset: Literal["quick", "paper"] = "quick",
    data: Path | None = None,
    weights: Path | None = None,
    chips: int | None = None,
    images: int | None = None,
    steps: int | None = None,
    studies: bool = True,
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Reproduce a paper's experiment on its own data; an interrupted run resumes.

    Args:
        paper: joshi2020 (noise-aware training, drift, GDC, AdaBS) or buchel2022 (gradient-descent programming).
        preset: quick (two cores, minutes) or paper (as published; wants a GPU).
        data: folder with cifar-10-batches-py (default: the environment variable CROSSJAX_DATA).
        weights: a trained network, .safetensors with PyTorch names (joshi2020: default a ResNet-20 that is included).
        chips: instead of the preset's number of chips.
        images: instead of the preset's number of test images.
        steps: instead of the preset's number of training steps.
        studies: joshi2020's sweep of the noise and its ablations, or buchel2022's sweep of the ADC.
        seed: makes a run repeatable.
        out: folder for the results (default runs/PAPER).
        force: replace an existing folder.
    """
    options: Any = {"data": data, "weights": weights, "chips": chips, "images": images, "steps": steps}
    options |= {"studies": studies, "seed": seed, "out": out, "force": force}
    if paper == "joshi2020":
        from crossjax.papers.joshi2020 import joshi2020

        joshi2020(preset, **options)
    else:
        from crossjax.papers.buchel2022 import buchel2022

        buchel2022(preset, **options)


def main(argv: list[str] | None = None) -> None:
    """Entry point of the ``crossjax`` command."""
    _compilation_cache()
    _keep_memory()
    with _unread_output():
        try:
            _parse(argv)()
        except (ValueError, OSError, TypeError, ArithmeticError, MemoryError) as error:
            if os.environ.get("CROSSJAX_DEBUG"):
                raise
            _fail(str(error) or type(error).__name__)
        except KeyboardInterrupt:
            print("crossjax: interrupted; run the same command again to resume", file=sys.stderr)
            raise SystemExit(130) from None


def _parse(argv: list[str] | None) -> Callable[[], None]:
    """The command to run, with its arguments; what is wrong with them is said in one line."""
    commands = {"quickstart": _quickstart, "program": _program, "reproduce": _reproduce, "bench": _bench}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                {name: _deferred(command) for name, command in commands.items()},
                prog="crossjax", description=(__doc__ or "").split("\n")[0], args=argv,
            )  # fmt: skip
    except SystemExit as end:
        if end.code != 2:
            raise
    given = (sys.argv[1:] if argv is None else argv)[:1]
    more = " ".join(["crossjax", *(name for name in given if name in commands), "--help"])
    _fail(f"{_gist(said.getvalue())} ({more} says more)")


def _deferred(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The same signature, but only bound to its arguments: what it does is no part of parsing."""

    @functools.wraps(command)
    def bind(*args: Any, **options: Any) -> Callable[[], None]:
        return functools.partial(command, *args, **options)

    return bind


def _gist(box: str) -> str:
    """What Tyro's message says between its title and the next rule, without the box around it."""
    from rich.text import Text

    lines = [line.strip(" │") for line in Text.from_ansi(box).plain.splitlines()[1:]]
    parts = itertools.groupby(lines, lambda line: bool(line.strip("─-╰╯ ")))
    said = next((" ".join(part) for words, part in parts if words), "the arguments cannot be used")
    return said.replace("invalid literal for int() with base 10:", "not a whole number:")


def _fail(message: str) -> NoReturn:
    """End with one line."""
    from crossjax.report import printable

    print(f"crossjax: {printable(' '.join(message.split()))}", file=sys.stderr)
    raise SystemExit(2)


@contextlib.contextmanager
def _unread_output() -> Iterator[None]:
    """Let the work go on when nobody reads what it prints any more (``| head``), or its characters are not known."""
    out: Any = _Unread(sys.stdout)
    err: Any = _Unread(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield
        finally:
            out.flush()
            err.flush()


class _Unread:
    """A text stream that falls silent where it would raise: the results are in files."""

    def __init__(self, stream: Any) -> None:
        self._stream = io.StringIO() if stream is None else stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._silent():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._silent():
            self._stream.flush()

    @contextlib.contextmanager
    def _silent(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def _compilation_cache() -> None:
    """Keep compiled programs between runs (the library itself never touches JAX's configuration)."""
    import jax

    folder = os.environ.get("CROSSJAX_CACHE", str(Path.home() / ".cache" / "crossjax"))
    if folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        if "JAX_LOGGING_LEVEL" not in os.environ:  # XLA warns at length of cached code for features it never uses
            jax.config.update("jax_logging_level", "CRITICAL")


def _keep_memory() -> None:
    """Let glibc keep freed arrays instead of returning their pages, which costs more than the arithmetic on them."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        pass  # another C library: nothing to tune


if __name__ == "__main__":
    main()
