"""The folder of a run: one process owns it, a kill at any instant leaves it to go on from, one rename finishes it.

Beside the folder DIR of the results, ``DIR.partial`` is worked in:

* ``inputs.json`` says that the folder is ours, and of which inputs;
* ``stages`` and ``checkpoints`` are what is done already;
* ``results`` becomes DIR in the end;
* ``replaced`` is what stood in DIR before, while the two change places.

Whatever the last owner was killed at, the next one can tell: with ``results`` and ``replaced`` but no DIR it was
exchanging them, and the old result is put back; without ``results`` it had finished, and the rest is swept up.
``DIR.partial`` itself is made and removed whole, as ``.DIR.crossjax-tmp``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

MARK = "inputs.json"


class RunFolder:
    """The folder of one run, to be entered with `owned` and `begin`.

    Attributes:
        out: where the results go, as the user wrote it.
        place: the same, absolute and without symbolic links.
        work: where the run works.
        results: what will become ``out``.

    Raises:
        ValueError: if ``out`` is the current folder or one around it.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.place = out, Path(os.path.realpath(out))
        if not self.place.name or Path.cwd().is_relative_to(self.place):
            raise ValueError(f"{out} is the folder you are in, or one around it: name a new one as --out")
        self.work = self.place.with_name(f"{self.place.name}.partial")
        self.results = self.work / "results"
        self._mark, self._replaced = self.work / MARK, self.work / "replaced"
        self._temporary = self.place.with_name(f".{self.place.name}.crossjax-tmp")

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Be the only process that works on this folder; the lock goes when the process does.

        Raises:
            BlockingIOError: if another one works on it.
            OSError: if the folder cannot be written beside.
        """
        lock = FileLock(self.place.with_name(f".{self.place.name}.crossjax-lock"), timeout=0)
        try:
            self.place.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise BlockingIOError(
                f"another process is working on {self.out}: wait until it ends, or choose another --out"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield
        finally:
            try:
                with suppress(OSError):  # Windows removes no open file; the lock itself does that there
                    os.unlink(lock.lock_file)
            finally:
                lock.release()

    def begin(self, tag: str, *, force: bool) -> bool:
        """Make the work folder, or go on with an interrupted one; returns whether anything in it is done already.

        Args:
            tag: JSON with all that decides the result and ``versions`` with crossjax's.
            force: the results replace those of an earlier run; unfinished work on other inputs is discarded.

        Raises:
            FileExistsError: if something of the user's is in the way, or an earlier result is and ``force`` is not set.
            ValueError: if it holds unfinished work on other inputs and ``force`` is not set.
            OSError: if it cannot be written.
        """
        self._settle()
        self._check_place(force)
        if self.work.exists() and self._mark.read_text(encoding="utf-8") != tag:
            if self._worth_keeping() and not force:
                raise ValueError(
                    f"{self.work} is an interrupted run with other inputs: finish that one, or discard it with --force"
                )
            self._sweep()
        try:
            if not self.work.exists():
                for name in ("stages", "results"):
                    (self._temporary / name).mkdir(parents=True)
                write_text(self._temporary / MARK, tag)
                os.rename(self._temporary, self.work)
            _empty(self.results)
        except OSError as error:
            raise self._unwritable(error) from error
        return self._worth_keeping()

    def commit(self, *, force: bool) -> None:
        """Give the results their place: one rename, after another that moves an earlier result aside.

        Raises:
            FileExistsError: if something else has come to stand there meanwhile; the run stays as it is.
            OSError: if it cannot be moved there; the old result is back then.
        """
        try:
            self._check_place(force)
        except FileExistsError as error:
            raise FileExistsError(f"{error} (it came meanwhile; this run's results are in {self.results})") from None
        if os.path.lexists(self.place):
            os.rename(self.place, self._replaced)
        try:
            os.rename(self.results, self.place)
        except OSError:
            self._settle()  # the old result comes back
            raise
        with suppress(OSError):  # the result stands; the next owner sweeps up
            self._sweep()

    def abandon(self) -> None:
        """Remove the work folder if nothing is done in it: it would only be in the way."""
        with suppress(OSError):
            written = self.results.is_dir() and any(self.results.iterdir())
            if _ours(self._mark) and not self._replaced.exists() and not written and not self._worth_keeping():
                self._sweep()

    def _settle(self) -> None:
        """Finish or undo what the last owner was killed at."""
        if self._temporary.exists():
            shutil.rmtree(self._temporary)
        if not os.path.lexists(self.work):
            return
        if self.work.is_symlink() or not _ours(self._mark):
            raise FileExistsError(
                f"{self.work} is in the way and not of an interrupted run: move it, or choose another --out"
            )
        if self.results.is_dir() and self._replaced.exists():
            if os.path.lexists(self.place):
                raise FileExistsError(
                    f"{self.out} was made anew after {self._replaced} had been moved from it: move one of them away"
                )
            os.rename(self._replaced, self.place)
        elif not self.results.is_dir():
            self._sweep()

    def _check_place(self, force: bool) -> None:
        if not os.path.lexists(self.place):
            return
        if not _ours(self.place / "result.json"):
            raise FileExistsError(
                f"{self.out} exists and is not the folder of an earlier run, which --force replaces: "
                "choose another --out"
            )
        if not force:
            raise FileExistsError(f"{self.out} exists: choose another --out, or replace it with --force")

    def _worth_keeping(self) -> bool:
        """Whether anything has been computed: any whole file but the mark and what is written at the end."""
        return any(
            not (name.startswith(".") and name.endswith(".tmp"))
            for top in self.work.iterdir()
            if top.is_dir() and top != self.results
            for *_, files in os.walk(top)
            for name in files
        )

    def _sweep(self) -> None:
        """Remove the work folder."""
        os.rename(self.work, self._temporary)
        shutil.rmtree(self._temporary)

    def _unwritable(self, error: OSError) -> OSError:
        return OSError(f"cannot write to {self.out.parent}: {error.strerror or error}")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path that becomes ``path``, and is on the disk, if the block succeeds, and disappears if not."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    with atomic(path) as file:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")


def _ours(file: Path) -> bool:
    """Whether a run wrote this JSON file: the mark of an unfinished one, or the result of a finished one."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    versions = found.get("versions") if isinstance(found, dict) else None
    return isinstance(versions, dict) and "crossjax" in versions


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
