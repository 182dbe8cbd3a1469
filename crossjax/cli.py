"""The command line: ``crossjax quickstart``, ``program``, ``optimise-strategy``, ``sweep``, ``reproduce``, ``bench``.

Bad input ends with one line on standard error and exit code 2, never with a traceback.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import itertools
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import tyro

COMMANDS = {  # functions: their signatures are the options, their docstrings the help
    "quickstart": "crossjax.experiments.quickstart:quickstart",
    "program": "crossjax.experiments.program_file:program_file",
    "optimise-strategy": "crossjax.experiments.optimise_strategy:optimise_strategy",
    "sweep": "crossjax.experiments.sweep:sweep",
    "reproduce": "crossjax.papers:reproduce",
    "bench": "crossjax.benchmarks.core:bench",
}


_SMALL = {"cristiano2018", "nandakumar2020", "femfet"}  # many runs of operations too small for two cores


def main(argv: list[str] | None = None) -> None:
    """Entry point of the ``crossjax`` command."""
    _compilation_cache()
    if _SMALL & set(sys.argv[1:] if argv is None else argv):
        _every_core()
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
    arguments, said = sys.argv[1:] if argv is None else argv, io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                {name: _deferred(command) for name, command in _commands(arguments).items()},
                prog="crossjax", description=(__doc__ or "").split("\n")[0], args=arguments,
            )  # fmt: skip
    except SystemExit as end:
        if end.code != 2:
            raise
    more = " ".join(["crossjax", *(name for name in arguments[:1] if name in COMMANDS), "--help"])
    _fail(f"{_gist(said.getvalue())} ({more} says more)")


def _commands(arguments: list[str]) -> dict[str, Callable[..., Any]]:
    """Every command by its name; beside the one that is given, nothing is imported for the others."""
    from crossjax import papers

    def other() -> None: ...

    given = [name for name in arguments[:1] if name in COMMANDS] or COMMANDS
    found = {name: pkgutil.resolve_name(place) if name in given else other for name, place in COMMANDS.items()}
    return found | {"reproduce": papers.command(arguments[1:])}


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


def _every_core() -> None:
    """Let runs be shared among a CPU's cores, each a device of its own."""
    import jax

    if "--xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # JAX has started: what it has is what there is
            jax.config.update("jax_num_cpu_devices", min(os.cpu_count() or 1, 8))


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
