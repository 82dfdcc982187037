"""Files from elsewhere, altered in every way: exit code 0 or 2, one line, nothing imported, run or written outside."""

import itertools
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from closerlook.agents.environment import FROM_FILES
from closerlook.agents.files import DESCRIPTION, PACKED, STATE, _digest, load_agent, save_agent
from closerlook.algorithms.ppo import PPOSettings
from closerlook.errors import InputError
from closerlook.results.answers import JobFiles
from closerlook.results.store import RunFolder
from closerlook.training.settings import TrainSettings, initial_agents
from fuzzing import FORBIDDEN, Server

GRADIENTS = ["gradients", "agent", "--pairs", "64", "--sizes", "16", "--estimates", "2", "--workers", "1", "--out", "o"]
TRUST = [
    "trust-region",
    "agent",
    "--pairs",
    "32",
    "--repeats",
    "2",
    "--return-pairs",
    "0",
    "--workers",
    "1",
    "--out",
    "p",
]
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 1.5, 0.5, -0.0, 1e-320, 1e308, -1e308, math.nan, math.inf, 10**9, 2**63, 2**64,
    10**30, 10**4000, "", "x", "0.99", "None", r"$\frac$", "\0", "\ud800", "é\u202e", "[/red]", "x" * 100_000, "a\nb",
    "../../etc/passwd", "/dev/zero", FORBIDDEN[1], f"{FORBIDDEN[0]}:make", [], [0], [1, 2], [2, 1], [["a"]], {},
    {"a": 1}, {"__class__": "os.system"},
)  # fmt: skip
FEW = settings(max_examples=60, deadline=None, database=None, derandomize=True)
MANY = settings(
    max_examples=5000,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small agent of Hopper, with all that a file can say of it."""
    asked = TrainSettings(
        environment="Hopper-v5",
        steps=64,
        n_steps=16,
        seeds=1,
        hidden=(4,),
        ppo=PPOSettings(policy_epochs=2, value_epochs=2, minibatches=4),
        environment_arguments={"reset_noise_scale": 0.01},
    )
    return save_agent(initial_agents(asked.resolved(), [0])[0], tmp_path_factory.mktemp("fuzz") / "agent")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


def places(content: Any, at: tuple = ()) -> Iterator[tuple]:
    """Yield the way to every field of a JSON value."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in inner:
        yield (*at, name)
        yield from places(value, (*at, name))


def fields_of(agent: Path) -> list[tuple]:
    """Every field of an agent's description, and those that a hostile one might add."""
    added = [("environment", "arguments", name) for name in sorted({*FROM_FILES, "render_mode", "xml_file", "x"})]
    added += [("algorithm_settings", name) for name in ("optimizer", "cg_steps", "x")] + [("factory",), ("x",)]
    return list(dict.fromkeys([*places(json.loads((agent / DESCRIPTION).read_text())), *added]))


def _inside(holder: Any, name: Any) -> Any:
    """Return what is under a name or at a place, None where nothing is."""
    if isinstance(holder, list) and isinstance(name, int):
        return holder[name] if name < len(holder) else None
    return holder.get(name) if isinstance(holder, dict) else None


def altered(agent: Path, folder: Path, changes: list[tuple[tuple, Any]]) -> None:
    """Copy an agent with fields changed; beside it lie a module and a file that nobody may touch."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(agent, folder / "agent")
    description = json.loads((agent / DESCRIPTION).read_text())
    for place, value in changes:
        holder = description
        for name in place[:-1]:
            holder = _inside(holder, name)
        if isinstance(holder, dict) or _inside(holder, place[-1]) is not None:
            holder[place[-1]] = value
    (folder / "agent" / DESCRIPTION).write_text(json.dumps(description))
    (folder / f"{FORBIDDEN[0]}.py").write_text("raise SystemExit(0)")
    (folder / FORBIDDEN[1]).write_text("<mujoco/>")


def require_one_line(server: Server, folder: Path, command: list[str], changes: Any) -> int:
    found = server.run(command, folder)
    told = f"{changes!r:.200}: {found['code']}\n{found['stderr'][-3000:]}"
    assert found["code"] in {0, 2}, told
    assert "Traceback" not in found["stderr"], told
    lines = [line for line in found["stderr"].splitlines() if line.startswith("closerlook: ")]
    assert len(lines) == (found["code"] == 2), told
    assert all(len(line) < 700 for line in lines), told
    return int(found["code"])


def command_for(place: tuple) -> list[str]:
    return TRUST if place[0] in {"algorithm_settings", "algorithm", "iteration", "value"} else GRADIENTS


def values() -> st.SearchStrategy[Any]:
    numbers = st.integers() | st.floats() | st.integers(-3, 40)
    plain = st.none() | st.booleans() | numbers | st.text(max_size=20) | st.sampled_from(ODD)
    inner = st.lists(plain, max_size=3) | st.dictionaries(st.text(max_size=8), plain, max_size=3)
    return plain | inner


def test_the_server_measures_an_agent_that_is_whole_and_notices_what_reaches_out(agent, server, tmp_path):
    folder = tmp_path / "w"
    altered(agent, folder, [])
    assert [require_one_line(server, folder, command, "as it is") for command in (GRADIENTS, TRUST)] == [0, 0]
    outside = server.run([*GRADIENTS[:-1], str(tmp_path / "outside")], folder)
    assert outside["code"] == 99, outside
    assert "reached out: open" in outside["stderr"]
    imported = server.run([*GRADIENTS, "--env", f"{FORBIDDEN[0]}:make"], folder)
    assert imported["code"] == 99, imported


def test_some_odd_fields_through_the_command_line(agent, server, tmp_path):
    """An odd value for every third field; all of them for all in the slow tests."""
    codes = []
    for number, place in enumerate(fields_of(agent)[::4]):
        value = ODD[(7 * number) % len(ODD)]
        altered(agent, tmp_path / "w", [(place, value)])
        codes.append(require_one_line(server, tmp_path / "w", command_for(place), (place, value)))
    assert set(codes) == {0, 2}


@pytest.mark.slow
def test_every_field_with_every_odd_value_through_the_command_line(agent, server, tmp_path):
    for place, value in itertools.product(fields_of(agent), ODD):
        altered(agent, tmp_path / "w", [(place, value)])
        require_one_line(server, tmp_path / "w", command_for(place), (place, value))


@pytest.mark.slow
def test_many_fields_at_once_through_the_command_line(agent, server, tmp_path):
    changes = st.lists(st.tuples(st.sampled_from(fields_of(agent)), values()), min_size=1, max_size=3)

    @settings(MANY, max_examples=1000)
    @given(changes)
    def check(changed):
        altered(agent, tmp_path / "w", changed)
        require_one_line(server, tmp_path / "w", command_for(changed[0][0]), changed)

    check()


# --- bytes of every file that is read


def mutations() -> st.SearchStrategy[list[tuple[str, float, float, bytes]]]:
    """Changes of bytes: what is done, where and how far (as shares of the file), and with what."""
    kinds = st.sampled_from(["set", "flip", "cut", "delete", "insert", "copy"])
    share = st.floats(0.0, 1.0, exclude_max=True)
    content = st.binary(min_size=1, max_size=8) | st.sampled_from(
        [b"\x00" * 8, b"\xff" * 8, b'"', b"}", b"[" * 50, b"9" * 30]
    )
    return st.lists(st.tuples(kinds, share, share, content), min_size=1, max_size=4)


def mutated(content: bytes, changes: list[tuple[str, float, float, bytes]]) -> bytes:
    for kind, where, far, what in changes:
        at = int(where * len(content))
        end = at + 1 + int(far * min(64, len(content)))
        if kind == "set":
            content = content[:at] + what + content[at + len(what) :]
        elif kind == "flip":
            content = content[:at] + bytes(byte ^ what[0] for byte in content[at : at + 1]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "delete":
            content = content[:at] + content[end:]
        elif kind == "insert":
            content = content[:at] + what + content[at:]
        else:
            content = content[:at] + content[at:end] * 2 + content[end:]
    return content


def _prepare_agent(agent: Path, folder: Path, name: str) -> tuple[Path, Callable[[], Any]]:
    shutil.copytree(agent, folder)
    if name == PACKED:
        save_agent(load_agent(agent), folder, packed=True)
        (folder / STATE).unlink()

    def read() -> Any:
        if name == STATE:  # with the right digest, so that what is behind it is reached too
            description = json.loads((folder / DESCRIPTION).read_text())
            description["digest"] = _digest((folder / STATE).read_bytes())
            (folder / DESCRIPTION).write_text(json.dumps(description))
        return load_agent(folder)

    return folder / name, read


def prepare(agent: Path, folder: Path, name: str) -> tuple[Path, Callable[[], Any]]:
    """Return a file that is read, and what reads it."""
    if name in {DESCRIPTION, STATE, PACKED}:
        return _prepare_agent(agent, folder, name)
    run = RunFolder(folder).open_for("gradients", {"seed": 3, "sizes": [1, 2]})
    if name == "run.json":
        return folder / name, lambda: RunFolder(folder).require_same("gradients", {"seed": 3, "sizes": [1, 2]})
    run.jobs().save("a" * 32, {"x": np.arange(6.0).reshape(2, 3), "n": np.array(4), "s": np.array(["a", "bc"])})
    return folder / "jobs" / f"{'a' * 32}.npz", lambda: JobFiles(folder / "jobs").load("a" * 32)


def check_mutations(agent: Path, folder: Path, name: str, how: settings) -> None:
    path, read = prepare(agent, folder, name)
    whole = path.read_bytes()
    assert read() is not None
    refused = []
    modules, there = set(sys.modules), sorted(folder.rglob("*"))

    @how
    @given(mutations())
    def check(changes):
        path.write_bytes(mutated(whole, changes))
        said = ""
        try:
            refused.append(read() is None)
        except InputError as error:
            refused.append(True)
            said = str(error)
        assert "\n" not in said
        assert sorted(folder.rglob("*")) == there

    check()
    assert sum(refused) > len(refused) / 2
    assert {name for name in set(sys.modules) - modules if name.startswith(FORBIDDEN[0])} == set()


FILES = (DESCRIPTION, STATE, PACKED, "run.json", "jobs")


@pytest.mark.parametrize("name", FILES)
def test_some_mutations_of_every_file_that_is_read(name, agent, tmp_path):
    check_mutations(agent, tmp_path / "f", name, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_five_thousand_mutations_of_every_file_that_is_read(name, agent, tmp_path):
    check_mutations(agent, tmp_path / "f", name, MANY)
