"""Files of other libraries are hostile until parsed: nothing in them runs, and each ends in one line or an agent."""

import base64
import io
import json
import os
import pickle
import resource
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import closerlook as cl
from closerlook.agents.importers.plain_pickle import Made, read_pickle
from closerlook.cli import main
from closerlook.errors import InputError
from closerlook.simulation.engine import make_engine
from sb3_models import Toy, saved, train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

LONGEST_SECONDS, MOST_MEMORY = 10.0, 2_000_000
PLACES = ("policy_class", "policy_kwargs", "clip_range", "lr_schedule", "observation_space", "ep_info_buffer")


class Payload:
    """What leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as the zoo keeps it, with its statistics and settings."""
    root = tmp_path_factory.mktemp("model")
    model = train("PPO", lambda: VecNormalize(DummyVecEnv([Toy] * 2)))
    saved(model, root / "model.zip")
    (root / "config.yml").write_text("!!python/object/apply:collections.OrderedDict\n- - - normalize\n    - true\n")
    (root / "args.yml").write_text("env: Pendulum-v1\n")
    np.savez(root / "evaluations.npz", results=np.ones((2, 3)), timesteps=np.arange(2))
    return root


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of it that may be spoiled."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / "model.zip"


def rewrite(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Write an archive again, each member changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))


def attempt(path: Path, **options: Any) -> Any:
    """Load a file: an agent, or the one line that refuses it; in time, and in memory."""
    started = time.process_time()
    try:
        found: Any = cl.load(path, env="Pendulum-v1", anyway=True, **options)
    except InputError as error:
        found = error
    assert not isinstance(found, InputError) or ("\n" not in str(found) and len(str(found)) < 600)
    assert time.process_time() - started < LONGEST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MOST_MEMORY
    return found


def with_data(change: Callable[[dict[str, Any]], None]) -> Callable[[str, bytes], bytes]:
    """Change the JSON of a model."""

    def changed(name: str, content: bytes) -> bytes:
        if name != "data":
            return content
        data = json.loads(content)
        change(data)
        return json.dumps(data).encode()

    return changed


def test_the_file_itself_is_read(copy: Path) -> None:
    agent = attempt(copy)
    assert isinstance(agent, cl.Agent)
    assert agent.observation_scaling is not None
    assert agent.reward_scaling is not None
    assert agent.origin is not None
    assert not agent.origin.missing
    assert {one.source for one in agent.origin.recorded} >= {"evaluations.npz"}


@pytest.mark.parametrize("place", PLACES)
def test_pickles_in_the_data_do_not_run(copy: Path, tmp_path: Path, place: str) -> None:
    mark = tmp_path / "ran"
    poison = base64.b64encode(pickle.dumps(Payload(mark))).decode()

    def change(data: dict[str, Any]) -> None:
        data[place] = {**(data[place] if isinstance(data[place], dict) else {}), ":serialized:": poison}

    rewrite(copy, with_data(change))
    attempt(copy)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["policy.pth", "policy.optimizer.pth", "pytorch_variables.pth"])
@pytest.mark.parametrize("form", ["plain", "zip", "within"])
def test_pickles_in_weights_do_not_run(copy: Path, tmp_path: Path, name: str, form: str) -> None:
    mark = tmp_path / "ran"
    content = io.BytesIO()
    if form == "plain":
        content.write(pickle.dumps(Payload(mark)))
    elif form == "zip":
        torch.save({"weight": Payload(mark)}, content)
    else:
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Payload(mark)))
            archive.writestr("archive/version", "3\n")
    rewrite(copy, lambda member, kept: content.getvalue() if member == name else kept)
    found = attempt(copy)
    assert not mark.exists()
    if name != "pytorch_variables.pth":  # which nothing needs, so that nothing reads it
        assert isinstance(found, InputError)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yml", "!!python/object/apply:os.mkdir [{mark}]"),
        ("config.yml", "normalize: !!python/object/apply:os.mkdir [{mark}]"),
        ("args.yml", "env: !!python/object/new:os.mkdir {{args: [{mark}]}}"),
        ("config.yml", "normalize: \"dict(norm_obs=__import__('os').mkdir('{mark}'))\""),
        ("config.yml", "normalize: \"{{'norm_obs': __import__('os').mkdir('{mark}')}}\""),
        ("args.yml", "env: os:mkdir"),
        ("env_kwargs.yml", "a: !!python/name:os.mkdir"),
    ],
)
def test_settings_do_not_run(copy: Path, tmp_path: Path, name: str, text: str) -> None:
    mark = tmp_path / "ran"
    (copy.parent / name).write_text(text.format(mark=mark))
    attempt(copy)
    assert not mark.exists()


ODD_ENVIRONMENTS = (
    "a" * 100_000,
    f"Hopper-v{'9' * 5000}",
    "Pendulum-v\u0663",
    "-v1",
    '"\\0"',
    "'$\\frac$'",
    "[1]",
    "{a: b}",
    "1.0e+400",
    "null",
)
ODD_WRAPPERS = (
    "[[[[]]]]",
    "3",
    "{a: {b: c}}",
    "[FrameSkip, 3]",
    "{FrameSkip: [1]}",
    "{FrameSkip: {skip: 1.0e+400}}",
    "{VecFrameStack: {n_stack: -1}}",
    "{VecFrameStack: {n_stack: x}}",
    "{HistoryWrapper: {horizon: 1000000000}}",
    "{VecTransposeImage: {keys: 5}}",
    "{sb3_contrib.common.wrappers.TimeFeatureWrapper: {max_steps: x}}",
    "'$\\frac$'",
    '"\\0"',
)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *(("args.yml", "env", value) for value in ODD_ENVIRONMENTS),
        *(("config.yml", "env_wrapper", value) for value in ODD_WRAPPERS),
        *(("config.yml", key, value) for key in ("frame_stack", "vec_env_wrapper") for value in ("[1]", "x", "-1")),
    ],
)
def test_odd_environments_and_wrappers_end_in_one_line(copy: Path, name: str, key: str, value: str) -> None:
    """Also where the environment is built."""
    (copy.parent / name).write_text(f"{key}: {value}\n")
    if name == "config.yml":
        (copy.parent / "args.yml").write_text("env: Pendulum-v1\n")
    said = ""
    try:
        agent = cl.load(copy, anyway=True)
        if agent.environment is not None:
            make_engine(agent.environment, 1)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 600


class Reaching(gymnasium.Env[Any, Any]):
    """An environment of the registry whose constructor does what its arguments say."""

    def __init__(self, mark: str = "") -> None:
        if mark:
            Path(mark).mkdir()
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (3,))
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))


@pytest.mark.parametrize("place", ["env_kwargs.yml", "args.yml"])
def test_arguments_reach_no_constructor(
    copy: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of anybody's environment: not to look at its spaces either."""
    monkeypatch.setitem(gymnasium.registry, "Reaching-v0", gymnasium.envs.registration.EnvSpec("Reaching-v0", Reaching))
    mark = tmp_path / "ran"
    (copy.parent / "args.yml").write_text("env: Reaching-v0\n")
    assert cl.load(copy, anyway=True).environment.id == "Reaching-v0"  # without arguments it may be looked at
    (copy.parent / "args.yml").write_text(
        f"env: Reaching-v0\nenv_kwargs: {{mark: {mark}}}\n" if place == "args.yml" else "env: Reaching-v0\n"
    )
    if place == "env_kwargs.yml":
        (copy.parent / place).write_text(f"mark: {mark}\n")
    agent = cl.load(copy, anyway=True)
    assert not mark.exists()
    assert any("'mark', which is not known to be harmless" in notice for notice in agent.origin.notices)
    with pytest.raises(InputError, match="not known to be harmless"):
        cl.inspect(agent, episodes=2)
    assert not mark.exists()


@pytest.mark.parametrize("argument", ["xml_file: {pipe}", "render_mode: human", "frame_skip: 1000000000"])
def test_arguments_of_tasks_that_are_not_harmless_are_not_tried(copy: Path, tmp_path: Path, argument: str) -> None:
    os.mkfifo(tmp_path / "pipe.xml")
    (copy.parent / "args.yml").write_text("env: Hopper-v5\n")
    (copy.parent / "env_kwargs.yml").write_text(argument.format(pipe=tmp_path / "pipe.xml"))
    with pytest.raises(InputError, match="not known to be harmless"):
        cl.inspect(cl.load(copy, anyway=True), episodes=2)


def test_pickled_statistics_and_results_do_not_run(copy: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (copy.parent / "vecnormalize.pkl").write_bytes(pickle.dumps(Payload(mark)))
    assert isinstance(attempt(copy), InputError)
    np.savez(copy.parent / "evaluations.npz", results=np.array([[Payload(mark)]], dtype=object))
    (copy.parent / "vecnormalize.pkl").unlink()
    agent = attempt(copy)
    assert isinstance(agent, cl.Agent)
    assert agent.origin is not None
    assert all(one.source != "evaluations.npz" for one in agent.origin.recorded)
    assert not mark.exists()


def test_archives_that_unpack_to_very_much_are_refused(copy: Path) -> None:
    rewrite(copy, lambda name, kept: bytes(100_000_000) if name == "data" else kept, zipfile.ZIP_DEFLATED)
    assert isinstance(attempt(copy), InputError)


def test_weights_that_unpack_to_very_much_are_refused(copy: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(100_000_000))
    rewrite(copy, lambda name, kept: inner.getvalue() if name == "policy.pth" else kept)
    found = attempt(copy)
    assert isinstance(found, InputError)
    assert "packed in a way" in str(found)


def test_nothing_is_written_outside(copy: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with zipfile.ZipFile(copy, "a") as archive:
        archive.writestr("../../evil", b"x")
        archive.writestr("/tmp/evil-absolute", b"x")
    attempt(copy)
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/evil-absolute").exists()


@pytest.mark.parametrize("target", ["config.yml", "/dev/zero", "missing"])
def test_links_to_what_is_no_file_are_passed_over(copy: Path, target: str) -> None:
    (copy.parent / "config.yml").unlink()
    (copy.parent / "config.yml").symlink_to(target)
    attempt(copy)


def test_a_pipe_is_not_waited_for(copy: Path) -> None:
    (copy.parent / "vecnormalize.pkl").unlink()
    os.mkfifo(copy.parent / "vecnormalize.pkl")
    assert isinstance(attempt(copy), cl.Agent)
    assert isinstance(attempt(copy, normalize=copy.parent / "vecnormalize.pkl"), InputError)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_truncated_archives_are_refused(copy: Path, share: float) -> None:
    content = copy.read_bytes()
    copy.write_bytes(content[: int(share * len(content))])
    assert isinstance(attempt(copy), InputError)


def test_giant_shapes_are_refused(copy: Path) -> None:
    giant = io.BytesIO()
    weights = torch.load(io.BytesIO(zipfile.ZipFile(copy).read("policy.pth")), weights_only=True)
    name = "mlp_extractor.policy_net.0.weight"
    torch.save({**weights, name: torch.zeros(1).expand(10**6, 10**6)}, giant)
    rewrite(copy, lambda member, kept: giant.getvalue() if member == "policy.pth" else kept)
    found = attempt(copy)
    assert isinstance(found, InputError)
    assert "more numbers than it has" in str(found)


def test_giant_arrays_of_statistics_and_results_are_refused(copy: Path) -> None:
    content = (copy.parent / "vecnormalize.pkl").read_bytes()
    at = content.index(b"obs_rms")
    spoiled = content[:at] + content[at:].replace(b"K\x03\x85", b"J" + struct.pack("<i", 2**31 - 1) + b"\x85", 1)
    assert spoiled != content
    (copy.parent / "vecnormalize.pkl").write_bytes(spoiled)
    assert isinstance(attempt(copy), InputError)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(copy.parent / "evaluations.npz", "w") as archive:
        archive.writestr("results.npy", header.getvalue())
    (copy.parent / "vecnormalize.pkl").unlink()
    assert isinstance(attempt(copy), cl.Agent)


def test_weights_that_are_not_finite_are_refused(copy: Path) -> None:
    spoiled = io.BytesIO()
    weights = torch.load(io.BytesIO(zipfile.ZipFile(copy).read("policy.pth")), weights_only=True)
    weights["log_std"][0] = torch.nan
    torch.save(weights, spoiled)
    rewrite(copy, lambda member, kept: spoiled.getvalue() if member == "policy.pth" else kept)
    found = attempt(copy)
    assert isinstance(found, InputError)
    assert "log_std" in str(found)


def test_the_command_answers_in_one_line(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy.write_bytes(copy.read_bytes()[:5000])
    assert main(["inspect", str(copy)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_pickles_nested_deeply_or_sharing_much_end_soon() -> None:
    deep = b"\x80\x04" + b")\x85" * 1 + b"\x85" * 200_000 + b"."
    found: Any = read_pickle(deep, "deep")
    assert isinstance(found, tuple)
    laughs = b"\x80\x04]" + b"q\x00" + b"".join(b"(h\x00h\x00lq\x00" for _ in range(60)) + b"0h\x00."
    with pytest.raises(InputError):
        read_pickle(laughs, "laughs")
    with pytest.raises(InputError):
        read_pickle(b"\x80\x04}" + b")\x85" + b"K\x01s.", "a tuple as a key")
    with pytest.raises(InputError):
        read_pickle(b"\x80\x04h\x05.", "what is not in the memo")
    made = read_pickle(pickle.dumps(Payload(Path("/nowhere"))), "payload")
    assert isinstance(made, Made)


def mutants(copy: Path, count: int, seed: int) -> Iterator[Path]:
    """Spoil a file or one beside it, a few bytes at a time: members within the archive too, checksums made right."""
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(copy) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    whole, statistics = copy.read_bytes(), (copy.parent / "vecnormalize.pkl").read_bytes()
    targets = ["archive", "vecnormalize.pkl", "data", "data", "policy.pth", "policy.optimizer.pth"]
    for number in range(count):
        target = targets[number % len(targets)]
        original = {"archive": whole, "vecnormalize.pkl": statistics}.get(target, members.get(target, b""))
        content = bytearray(original)
        for _ in range(int(rng.integers(1, 4))):
            at, kind = int(rng.integers(len(content))), int(rng.integers(4))
            if kind == 0:
                content[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                content[at] = int(rng.integers(256))
            elif kind == 2:
                del content[at : at + int(rng.integers(1, 40))]
            else:
                content[at:at] = content[at : at + int(rng.integers(1, 40))]
        copy.write_bytes(whole)
        (copy.parent / "vecnormalize.pkl").write_bytes(statistics)
        if target == "archive":
            copy.write_bytes(bytes(content))
        elif target == "vecnormalize.pkl":
            (copy.parent / target).write_bytes(bytes(content))
        else:
            with zipfile.ZipFile(copy, "w") as archive:
                for name, kept in members.items():
                    archive.writestr(name, bytes(content) if name == target else kept)
        yield copy


@pytest.mark.parametrize("count", [120, pytest.param(10_000, marks=pytest.mark.slow)])
def test_spoiled_files_end_in_one_line_or_an_agent(copy: Path, count: int) -> None:
    (copy.parent / "args.yml").unlink()
    # counted, not kept: ten thousand agents take more memory than one attempt may
    refused = sum(isinstance(attempt(path), InputError) for path in mutants(copy, count, seed=count))
    assert 0.2 * count < refused < count
