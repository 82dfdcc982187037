"""Workers that Ray brings: a cluster of the command's own, one that runs, and what goes wrong there."""

import os
import socket
from pathlib import Path

import pytest

from closerlook.cli import main
from closerlook.errors import InputError
from closerlook.execution import Executor, Job, Silence, content_key, executing, run_jobs
from closerlook.results.ownership import owned
from closerlook.results.store import RunFolder
from killing import wait_for
from odd_machine.sitecustomize import odd
from ray_cluster import cluster
from small_jobs import draw

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def installed() -> None:
    pytest.importorskip("ray")


class Noting(Silence):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def jobs_of(count: int) -> list[Job]:
    return [Job(f"draw {n}", content_key("draw", n), draw, {"seed": 2 * n}, pairs=10.0) for n in range(count)]


def answers_of(run: Path, jobs: list[Job], progress: Noting, workers: int, **asked: str) -> list[bytes]:
    with owned(run), executing(Executor("ray", **asked), workers, run):
        answers = run_jobs(jobs, cache=RunFolder(run).jobs(), progress=progress)
    return [array.tobytes() for answer in answers for array in answer.values()]


def expected(jobs: list[Job]) -> list[bytes]:
    return [array.tobytes() for answer in run_jobs(jobs, workers=1) for array in answer.values()]


def ray_processes() -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "closerlook-ray-" in command:
            found.append(command)
    return found


def test_a_cluster_of_its_own_is_its_own_and_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # another user's: never taken
    jobs, progress = jobs_of(8), Noting()
    assert answers_of(tmp_path / "run", jobs, progress, 2) == expected(jobs)
    assert any("works along, with 1 process" in note for note in progress.notes)
    wait_for(lambda: not ray_processes())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["jobs"]


@pytest.mark.parametrize(
    "address", ["nonsense", "auto", "127.0.0.1:{port}", "ray://127.0.0.1:{port}", "no-such-host.invalid:1"]
)
def test_an_address_where_nobody_is_is_named(address: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
    command = ["train", "--env", "training_environments:make_target", "--seeds", "1", "--steps", "256"]
    command += ["--n-steps", "128", "--hidden", "4", "--out", str(tmp_path), "--workers", "1"]
    assert main([*command, "--executor", "ray", "--address", address]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert address in line
    assert "give" in line
    assert main(command) == 0


def test_a_node_whose_disk_is_full_is_left_out_and_named(tmp_path: Path) -> None:
    variables = odd(error="ENOSPC", often=1.0)
    variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], str(TESTS)])
    jobs, progress = jobs_of(40), Noting()
    with cluster(**variables) as ray:
        found = answers_of(tmp_path / "run", jobs, progress, 2, address=ray.address)
    assert found == expected(jobs)
    assert any("the disk is full" in note for note in progress.notes)
    assert any("is left out from now on" in note for note in progress.notes)


def test_where_every_node_lacks_a_module_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "own_code.py").write_text("def answer():\n    return {}\n")
    monkeypatch.syspath_prepend(str(home))
    import own_code  # noqa: PLC0415

    (home / "own_code.py").unlink()
    said = "no Ray worker is left: .*own cannot be loaded here .*No module named 'own_code'"
    with pytest.raises(InputError, match=said):
        answers_of(tmp_path / "run", [Job("own", content_key("own"), own_code.answer, {})], Noting(), 1)
