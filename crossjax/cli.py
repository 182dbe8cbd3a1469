"""The command line of crossjax.

Bad input ends with one line on standard error and exit code 2, never with a traceback. Besides its own options every
command has ``--format json``: what it found as JSON on standard output, all else on standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import inspect
import io
import itertools
import json
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import tyro

COMMANDS = {  # functions: their signatures are the options, their docstrings the help
    "quickstart": "crossjax.experiments.quickstart:quickstart",
    "describe": "crossjax.experiments.describe:describe",
    "program": "crossjax.experiments.program_file:program_file",
    "optimise-strategy": "crossjax.experiments.optimise_strategy:optimise_strategy",
    "sweep": "crossjax.experiments.sweep:sweep",
    "reproduce": "crossjax.papers:reproduce",
    "bench": "crossjax.benchmarks.core:bench",
    "completion": "crossjax.cli:completion",
}
ABOUT = """A differentiable simulator of analog in-memory computing.

crossjax COMMAND --help says what a command does and takes. Every command also has --format json, which prints its
result as JSON for scripts; crossjax --version says which version this is."""


_SMALL = {"cristiano2018", "nandakumar2020", "femfet"}  # many runs of operations too small for two cores


def main(argv: list[str] | None = None) -> None:
    """Entry point of the ``crossjax`` command."""
    _compilation_cache()
    if _SMALL & set(sys.argv[1:] if argv is None else argv):
        _every_core()
    _keep_memory()
    with _unread_output():
        try:
            arguments, style = _format(sys.argv[1:] if argv is None else argv)
            if arguments == ["--version"]:
                return print(f"crossjax {_version()}")
            run = _parse(arguments)
            if style == "text":
                run()
            else:
                _as_json(run)
        except (ValueError, OSError, TypeError, ArithmeticError, MemoryError) as error:
            if os.environ.get("CROSSJAX_DEBUG"):
                raise
            _fail(str(error) or type(error).__name__)
        except KeyboardInterrupt:
            print("crossjax: interrupted; run the same command again to resume", file=sys.stderr)
            raise SystemExit(130) from None


def completion(shell: Annotated[Literal["bash", "zsh", "tcsh"], tyro.conf.Positional]) -> None:
    """Print the completion script of a shell.

    ``crossjax completion bash > ~/.local/share/bash-completion/completions/crossjax`` installs bash's.

    Args:
        shell: bash, zsh or tcsh.
    """
    _parse(["--tyro-print-completion", shell])


def _version() -> str:
    from crossjax import __version__

    return __version__


def _format(arguments: list[str]) -> tuple[list[str], str]:
    """The arguments without ``--format``, and what it says.

    Raises:
        ValueError: for another format than text and json.
    """
    left, style = [], "text"
    given = iter(arguments)
    for argument in given:
        if argument != "--format" and not argument.startswith("--format="):
            left.append(argument)
            continue
        style = argument.partition("=")[2] if "=" in argument else next(given, "")
        if style not in ("text", "json"):
            raise ValueError(f"--format must be text or json, got {style!r}")
    return left, style


def _as_json(run: Callable[[], Any]) -> None:
    """Run a command, and print its result, or that of its folder, as JSON; all else goes to standard error."""
    from crossjax import report

    report.console.stderr = True
    try:
        found = run()
    finally:
        report.console.stderr = False
    if isinstance(found, Path):
        found = {"folder": str(found)} | json.loads((found / "result.json").read_text(encoding="utf-8"))
    print(json.dumps(found, indent=2, ensure_ascii=False))


def _parse(arguments: list[str]) -> Callable[[], Any]:
    """The command to run, with its arguments; what is wrong with them is said in one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.extras.subcommand_cli_from_dict(
                {name: _deferred(command) for name, command in _commands(arguments).items()},
                prog="crossjax", description=ABOUT, args=arguments,
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

    found: dict[str, Callable[..., Any]] = dict.fromkeys(COMMANDS, other)
    for name in [name for name in arguments[:1] if name in COMMANDS] or COMMANDS:
        found[name] = papers.command(arguments[1:]) if name == "reproduce" else pkgutil.resolve_name(COMMANDS[name])
    return (
        found if arguments[:1] != ["--help"] and arguments[:1] != ["-h"] else {n: _named(f) for n, f in found.items()}
    )


def _named(command: Callable[..., Any]) -> Callable[[], None]:
    """A command as the list of commands shows it: its first sentence, and no options."""

    def listed() -> None: ...

    listed.__doc__ = " ".join(inspect.cleandoc(command.__doc__ or "").split("\n\n")[0].split())
    return listed


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
