"""Run folders: owned by one process, whole whatever they are killed at, and nobody else's."""

import contextlib
import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys

import pytest

from crossjax import report


class Kill(BaseException):
    """The process ends here."""


class Killer:
    """An audit hook that ends the process before (or, torn, halfway through) the n-th change of a folder's files.

    Nothing that runs afterwards changes a file any more, as if the process were gone.
    """

    CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink")

    def __init__(self):
        self.root, self.dead = None, False
        sys.addaudithook(self)

    def __call__(self, event, args):
        if self.root is None or not (event == "open" or event in self.CHANGES):
            return
        written = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if event == "open" and not written:
            return
        path = os.fsdecode(args[0]) if isinstance(args[0], (str, bytes, os.PathLike)) else ""
        if os.path.isabs(path) and not path.startswith(self.root):
            return
        if not self.dead:
            self.left -= 1
            if self.left:
                return
            self.dead = True
            if self.torn and written and args[2] & os.O_TRUNC:
                root, self.root = self.root, None
                open(path, "w").close()
                self.root = root
        raise Kill

    @contextlib.contextmanager
    def at(self, n, root, torn):
        self.root, self.left, self.torn, self.dead = str(root), n, torn, False
        try:
            yield
        except Kill:
            pass
        finally:
            self.root = None


@pytest.fixture(scope="module")
def killer():
    return Killer()


class Figure:
    def savefig(self, file, **_):
        file.write_bytes(b"\x89PNG")


def experiment(out, seed=0, *, force=False, interrupted=False, computed=None):
    """Two stages, a checkpoint between them, and every kind of output."""
    with report.open_run("demo", out, {"seed": seed}, force=force) as run:

        def compute(n):
            if interrupted and n:
                raise KeyboardInterrupt
            if computed is not None:
                computed.append(n)
            return {"value": n + seed, "missing": math.nan}

        first = run.stage("first", lambda: compute(0))
        (run.work / "checkpoints" / "1").mkdir(parents=True, exist_ok=True)
        report.write_text(run.work / "checkpoints" / "1" / "state", "0" * 10)
        second = run.stage("second", lambda: compute(1))
        run.table("values", ["stage", "value"], [["first", first["value"]], ["second", second["value"]]])
        run.csv("values", {"value": [first["value"], second["value"]], "missing": [first["missing"], math.nan]})
        run.plot("values", Figure(), "Two values.")
        return run.finish([report.figure("sum", first["value"] + second["value"])], "Two were added: {sum:.1f}.")


def contents(folder):
    """Every file of a folder but the time it took; None if it is not there."""
    if not folder.is_dir():
        return None
    files = {str(p.relative_to(folder)): p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file()}
    return {name: re.sub(r"(&quot;|\")seconds\1: [\d.]+", "", text) for name, text in files.items()}


def interrupt(out, **options):
    with pytest.raises(KeyboardInterrupt):
        experiment(out, interrupted=True, **options)


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("case", ["new", "resumed", "replacing", "replacing, resumed", "discarding"])
def test_a_kill_between_any_two_file_operations_loses_nothing(killer, tmp_path, monkeypatch, case, torn):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # seconds of waiting for the disk
    wanted = contents(experiment(tmp_path / "wanted"))
    start, out = tmp_path / "start", tmp_path / "place" / "run"
    start.mkdir()
    force = case not in ("new", "resumed")
    old = contents(experiment(start / "run", seed=1)) if case.startswith("replacing") else None
    if case.endswith("resumed"):
        interrupt(start / "run", force=force)
    if case == "discarding":
        interrupt(start / "run", seed=1)
    for n in range(1, 1000):
        shutil.copytree(start, out.parent)
        with killer.at(n, out.parent, torn):
            experiment(out, force=force)
        if killer.dead:
            found = [contents(out), contents(out.with_name("run.partial") / "replaced")]
            assert contents(out) == wanted or old is None or old in found
            try:
                experiment(out, force=force)
            except FileExistsError:
                assert not force, "finished: the same command may only refuse to replace it"
        assert contents(out) == wanted and [p.name for p in out.parent.iterdir()] == ["run"]
        shutil.rmtree(out.parent)
        if not killer.dead:
            break
    assert n > 30


def test_repeating_an_interrupted_force_goes_on_where_it_stopped(tmp_path):
    experiment(tmp_path / "run", seed=1)
    interrupt(tmp_path / "run", force=True)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["inputs"] == {"seed": 1}
    computed = []
    experiment(tmp_path / "run", force=True, computed=computed)
    assert computed == [1] and json.loads((tmp_path / "run" / "result.json").read_text())["inputs"] == {"seed": 0}


def test_a_folder_in_use_is_refused_until_its_owner_is_gone(tmp_path):
    with report.open_run("demo", tmp_path / "run", {}), pytest.raises(BlockingIOError, match="another process"):
        experiment(tmp_path / "run", force=True)
    lock = tmp_path / ".run.crossjax-lock"
    owner = "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", owner, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        with pytest.raises(BlockingIOError, match="run: wait until it ends, or choose another --out"):
            experiment(tmp_path / "run")
        process.kill()
    experiment(tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["mine", "inputs.json", "results/mine", "empty", "file", "link"])
def test_what_is_not_ours_is_never_removed(tmp_path, name):
    work = tmp_path / "run.partial"
    if name == "file":
        work.write_text("keep")
    elif name == "empty":
        work.mkdir()
    elif name == "link":
        (tmp_path / "elsewhere").mkdir()
        work.symlink_to(tmp_path / "elsewhere")
    else:
        (work / name).parent.mkdir(parents=True)
        (work / name).write_text('{"inputs": "of another program"}')
    before = sorted(tmp_path.rglob("*"))
    for force in (False, True):
        with pytest.raises(FileExistsError, match=r"run\.partial is in the way and not of an interrupted run"):
            experiment(tmp_path / "run", force=force)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "result.json").write_text('{"mine": 1}')
    with pytest.raises(FileExistsError, match="not the folder of an earlier run"):
        experiment(tmp_path / "other", force=True)
    assert [p for p in sorted(tmp_path.rglob("*")) if "other" not in p.parts] == before
    assert (tmp_path / "other" / "result.json").read_text() == '{"mine": 1}'


def test_what_comes_to_stand_in_the_place_meanwhile_stays_there(tmp_path):
    with (
        pytest.raises(FileExistsError, match=r"this run's results are in .*run\.partial"),
        report.open_run("demo", tmp_path / "run", {}, force=True) as run,
    ):
        (tmp_path / "run").mkdir()
        run.finish([], "Nothing was done.")
    assert not any((tmp_path / "run").iterdir())
    assert (tmp_path / "run.partial" / "results" / "result.json").exists()


def test_a_result_that_cannot_be_moved_leaves_the_old_one_in_its_place(tmp_path, monkeypatch):
    old = contents(experiment(tmp_path / "run", seed=1))
    rename = os.rename

    def refuse(source, target):
        if source.name == "results":
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(PermissionError):
        experiment(tmp_path / "run", force=True)
    assert contents(tmp_path / "run") == old
    monkeypatch.undo()
    computed = []
    assert contents(experiment(tmp_path / "run", force=True, computed=computed)) != old and computed == []


def test_an_early_error_is_not_in_the_way_of_the_corrected_command(tmp_path):
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), report.open_run("demo", tmp_path / "run", {"seed": 1}):
            raise error
        assert not any(tmp_path.iterdir())
    (tmp_path / "run.partial" / "stages").mkdir(parents=True)  # killed before the first stage was done
    (tmp_path / "run.partial" / "results").mkdir()
    report.write_text(tmp_path / "run.partial" / "inputs.json", '{"versions": {"crossjax": "0"}}')
    experiment(tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_is_recorded_beside_the_inputs_does_not_decide_whether_a_run_resumes(tmp_path):
    def run(path):
        with report.open_run("demo", tmp_path / "run", {"sha256": "0"}, recorded={"weights": path}) as run:
            run.stage("a", lambda: {"path": path})
            if path == "w.npz":
                raise KeyboardInterrupt
            assert run.stage("a", lambda: {}) == {"path": "w.npz"}
            return run.finish([], "Nothing was done.")

    with pytest.raises(KeyboardInterrupt):
        run("w.npz")
    inputs = json.loads((run("/home/me/w.npz") / "result.json").read_text())["inputs"]
    assert inputs == {"weights": "/home/me/w.npz", "sha256": "0"}


@pytest.mark.parametrize("damage", ["edited", "truncated", "list", "of another run"])
def test_a_damaged_stage_is_named_and_computed_again(tmp_path, capsys, damage):
    interrupt(tmp_path / "run")
    (file,) = (tmp_path / "run.partial" / "stages").iterdir()
    text = file.read_text()
    if damage == "of another run":
        interrupt(tmp_path / "other", seed=5)
        (other,) = (tmp_path / "other.partial" / "stages").iterdir()
        shutil.copy(other, file)
    else:
        edited = text.replace('"value": 0', '"value": 7')
        file.write_text({"edited": edited, "truncated": text[:-3], "list": "[]"}[damage])
    computed = []
    experiment(tmp_path / "run", computed=computed)
    assert computed == [0, 1] and f"{file.name} is damaged: computing first again" in capsys.readouterr().out


def test_folders_that_cannot_be_made_are_refused_at_the_door(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in (".", "..", "", str(tmp_path), "/"):
        with pytest.raises(ValueError, match="the folder you are in"):
            experiment(report.Path(out), force=True)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileExistsError, match="loop exists"):
        experiment(tmp_path / "loop")
    assert [p.name for p in tmp_path.iterdir()] == ["loop"]


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "run")
    for seed in (0, 1):
        experiment(tmp_path / "link", seed=seed, force=True)
        assert (tmp_path / "link").is_symlink()
        assert json.loads((tmp_path / "disk" / "run" / "result.json").read_text())["inputs"] == {"seed": seed}
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["run"]


def test_names_from_a_file_are_shown_as_they_are(tmp_path, capsys):
    hostile = ["[/]", "[red]x", "=cmd|' /C calc'!A0", "@SUM(1)", "-x", "+1", "\x1b[2J", "<b>", "\udc80", "-1e-3"]
    with report.open_run("demo", tmp_path / "[run]", {}) as run:
        run.stage("[/]", lambda: {})
        run.table("[/]", ["[/]", "n"], [[name, k] for k, name in enumerate(hostile)])
        run.csv("names", {"=name": hostile, "n": range(-5, 5), "x": [-0.5] * 10})
        run.finish([], "Nothing was done.")
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("[/]", "[red]x", r"\x1b[2J", r"\udc80", "[run]")) and "\x1b" not in shown
    with (tmp_path / "[run]" / "names.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["'=name", "n", "x"] and rows[1] == ["[/]", "-5", "-0.5"]
    assert [row[0] for row in rows[3:7]] == ["'=cmd|' /C calc'!A0", "'@SUM(1)", "'-x", "+1"]
    assert rows[10] == ["-1e-3", "4", "-0.5"]
    assert "&lt;b&gt;" in (tmp_path / "[run]" / "report.html").read_text()
