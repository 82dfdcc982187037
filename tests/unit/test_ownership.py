"""Whose a run folder is: one command at a time, on one host and on several."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from closerlook.errors import InputError
from closerlook.results import ownership
from closerlook.results.ownership import OWNER, kept, owned, take, taking_over
from closerlook.results.store import RunFolder

HOLD = """
import sys, time
from pathlib import Path
from closerlook.results.ownership import take
own = take(Path(sys.argv[1]))
print("taken", flush=True)
time.sleep(60)
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have owners beat, and count as dead, a hundred times sooner."""
    monkeypatch.setattr(ownership, "BEAT", 0.05)
    monkeypatch.setattr(ownership, "SILENCE", 0.6)


def on_host(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Go on as a process of another machine."""
    monkeypatch.setattr(ownership, "this_host", lambda: (name, f"boot of {name}"))


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on a file system that carries no locks, not even to this host."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(ownership.fcntl, "flock", refuse)


class Beating:
    """The owner of a folder on another host, whose locks do not reach this one."""

    def __init__(self, folder: Path) -> None:
        self.file, self.beat, self.ended = folder / OWNER, 0, threading.Event()
        self.write()
        self.thread = threading.Thread(target=self.go_on)
        self.thread.start()

    def write(self) -> None:
        lease = {"token": "theirs", "host": "elsewhere", "boot": "theirs", "process": 7, "beat": self.beat}
        beside = self.file.with_name("beside")
        beside.write_text(json.dumps(lease))
        beside.replace(self.file)

    def go_on(self) -> None:
        while not self.ended.wait(0.05):
            if json.loads(self.file.read_text())["token"] == "theirs":
                self.beat += 1
                self.write()

    def end(self) -> None:
        self.ended.set()
        self.thread.join()


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Beating]:
    owner = Beating(tmp_path)
    yield owner
    owner.end()


def test_a_second_command_is_refused_in_one_line_that_names_the_first(tmp_path: Path) -> None:
    with owned(tmp_path), pytest.raises(InputError) as caught:
        take(tmp_path)
    host, _ = ownership.this_host()
    assert str(caught.value) == (
        f"{tmp_path} is in use by process {os.getpid()} on {host}; wait until it has ended, or give another --out"
    )
    assert not (tmp_path / OWNER).exists()
    take(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_owner_s_folder_is_taken_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        with pytest.raises(InputError, match=f"in use by process {process.pid} on"), taking_over():
            take(tmp_path)  # of a process of this host, a named option does not take it either
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / OWNER).exists()
        begun = time.monotonic()
        take(tmp_path).release()
        assert time.monotonic() - begun < 1
    finally:
        process.kill()
        process.communicate()


def test_of_many_that_begin_at_once_one_takes_the_folder(tmp_path: Path) -> None:
    taken, refused, start = [], [], threading.Barrier(8)

    def begin() -> None:
        start.wait()
        try:
            taken.append(take(tmp_path))
        except InputError as error:
            refused.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 7)
    taken[0].release()


def test_the_owner_beats(tmp_path: Path, quick: None) -> None:
    with owned(tmp_path):
        beats = set()
        for _ in range(20):
            time.sleep(0.02)
            beats.add(json.loads((tmp_path / OWNER).read_text())["beat"])
        assert len(beats) > 2


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_another_host_that_is_alive_is_refused_whatever_its_clock_says(
    tmp_path: Path, quick: None, theirs: Beating, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600 * hours)
    refused = r"in use by process 7 on elsewhere; .* --take-over if it should not go on"
    watched = "last taken by process 7 on elsewhere: it is watched"
    with pytest.warns(UserWarning, match=watched), pytest.raises(InputError, match=refused):
        take(tmp_path)
    assert json.loads((tmp_path / OWNER).read_text())["token"] == "theirs"


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_another_host_s_dead_process_is_taken_over_whatever_its_clock_said(
    tmp_path: Path, quick: None, theirs: Beating, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    theirs.end()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600 * hours)
    os.utime(tmp_path / OWNER, (now(), now() + 3600 * hours))
    with pytest.warns(UserWarning, match="it is watched"):
        take(tmp_path).release()
    assert not (tmp_path / OWNER).exists()


def test_an_owner_that_was_taken_over_learns_of_it_before_it_writes(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership.fcntl, "flock", lambda *_: None)  # locks do not reach from one to the other
    with RunFolder(tmp_path).open_for("gradients", {"seed": 0}) as folder:
        before = (tmp_path / "run.json").read_bytes()
        on_host(monkeypatch, "elsewhere")
        with taking_over():
            other = take(tmp_path)
        time.sleep(0.2)  # long enough for either to beat
        other.require()
        for write in (
            lambda: folder.write_json("x.json", {}),
            lambda: folder.jobs().save("key", {}),
            lambda: folder.jobs().discard("key"),
            lambda: folder.finish(1),
        ):
            with pytest.raises(InputError, match=r"was taken over by process \d+ on elsewhere while .* was stopped"):
                write()
    assert (tmp_path / "run.json").read_bytes() == before  # the end of the block says nothing either
    other.require()
    other.release()


def test_where_a_file_system_has_no_locks_the_lease_decides(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch)
    own = take(tmp_path)
    with pytest.warns(UserWarning, match="it is watched"), pytest.raises(InputError, match="in use by"):
        take(tmp_path)
    own.release()
    take(tmp_path).release()
    (tmp_path / OWNER).write_text(json.dumps({"token": "x", "host": "h", "boot": "b", "process": 1, "beat": 0}))
    with pytest.warns(UserWarning, match="it is watched"):
        take(tmp_path).release()


@pytest.mark.parametrize("content", [b"", b"\0" * 512, b"[" * 5000, b'{"token": 1}', b"\xff", b"{}"])
def test_a_lease_that_does_not_read_is_nobody_s(tmp_path: Path, content: bytes) -> None:
    (tmp_path / OWNER).write_bytes(content)
    take(tmp_path).release()


def test_a_command_keeps_its_folder_until_its_figures_are_drawn(tmp_path: Path) -> None:
    with kept():
        for _ in range(2):  # the same command may take it again
            with RunFolder(tmp_path).open_for("gradients", {"seed": 0}) as folder:
                folder.finish(1)
            with pytest.raises(InputError, match="in use by"):
                other_thread(take, tmp_path)
    take(tmp_path).release()


def other_thread(function: object, *arguments: object) -> None:
    """Call a function in another thread, which has no part in what this one keeps."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            function(*arguments)  # type: ignore[operator]
        except InputError as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    for error in raised:
        raise error


def test_a_folder_is_made_for_who_takes_it_and_deleted_where_nothing_was_put_there(tmp_path: Path) -> None:
    def refuse() -> None:
        with RunFolder(tmp_path / "run").open_for("gradients", {"seed": 0}):
            raise InputError("it takes days", "ask for less")

    with pytest.raises(InputError, match="it takes days"), kept():
        refuse()
    assert not (tmp_path / "run").exists()
