"""Agents on disk: what is written comes back, and whatever is not exactly that is refused with one line."""

import dataclasses
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

import closerlook as cl
from closerlook.agents.agent import Agent
from closerlook.agents.environment import FROM_FILES, EnvironmentSpec, require_from_file
from closerlook.agents.files import _MOST_OF, _digest, load_agent, save_agent
from closerlook.agents.loading import checkpoint_folder
from closerlook.agents.loading import find_agents as load_agents
from closerlook.agents.policies import CategoricalMLP, MLPValue
from closerlook.algorithms.rules import ALGORITHMS, rule_of
from closerlook.errors import InputError, NonFiniteError
from closerlook.nn.networks import MLP
from closerlook.simulation.engine import describe_environment
from closerlook.simulation.tasks import TASKS
from closerlook.training.settings import TrainSettings, initial_agents

SETTINGS = TrainSettings(
    environment="training_environments:make_target",
    steps=40,
    n_steps=20,
    seeds=2,
    hidden=(8, 4),
    environment_arguments={},
)


@pytest.fixture(scope="module")
def agents() -> list[Agent]:
    return initial_agents(SETTINGS.resolved(), [0, 1])


@pytest.fixture
def folder(agents: list[Agent], tmp_path: Path) -> Path:
    return save_agent(agents[0], tmp_path / "agent")


def edit(folder: Path, **changes: object) -> None:
    path = folder / "agent.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_state(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replace (or with None, remove) tensors, keeping the digest right."""
    path = folder / "state.safetensors"
    state = load(path.read_bytes()) | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    content = save({name: tensor for name, tensor in state.items() if tensor is not None})
    path.write_bytes(content)
    edit(folder, digest=_digest(content))


def test_what_is_saved_comes_back(agents: list[Agent], folder: Path) -> None:
    read = load_agent(folder)
    assert all(torch.equal(read.state[name], agents[0].state[name]) for name in agents[0].state)
    assert read.state.keys() == agents[0].state.keys()
    assert dataclasses.replace(read, state={}) == dataclasses.replace(agents[0], state={})


def test_a_discrete_agent_without_critic_or_statistics_comes_back(tmp_path: Path) -> None:
    policy = CategoricalMLP(MLP((3, 2), "relu"))
    agent = Agent(policy, None, {}).with_state({"policy": policy.initialize(np.random.default_rng(0), "xavier")})
    read = load_agent(save_agent(agent, tmp_path))
    assert dataclasses.replace(read, state={}) == dataclasses.replace(agent, state={})


def test_saving_again_replaces(agents: list[Agent], folder: Path) -> None:
    save_agent(agents[1], folder)
    assert load_agent(folder).agent_seed == 1
    assert sorted(path.name for path in folder.iterdir()) == ["agent.json", "state.safetensors"]


def test_networks_that_are_code_are_not_written(tmp_path: Path) -> None:
    agent = Agent.from_torch(torch.nn.Linear(2, 2), distribution=lambda x: torch.distributions.Normal(x, 1.0))
    with pytest.raises(InputError, match=r"package\.module:function"):
        save_agent(agent, tmp_path)


def test_a_population_is_not_written(agents: list[Agent], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unstack"):
        save_agent(Agent.stack(agents), tmp_path)


@pytest.mark.parametrize("name", ["agent.json", "state.safetensors"])
@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, -1])
def test_truncated_files_are_refused(folder: Path, name: str, keep: int) -> None:
    content = (folder / name).read_bytes()
    if name == "agent.json" and keep == -1:
        keep = -2  # the last byte is a line feed
    (folder / name).write_bytes(content[:keep])
    with pytest.raises(InputError, match=name):
        load_agent(folder)


@pytest.mark.parametrize("at", [3, 40, 400, -3])
def test_a_flipped_byte_is_noticed(folder: Path, at: int) -> None:
    path = folder / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="damaged"):
        load_agent(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 8, struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 2) + b"[]", b"\xff" * 64,
     struct.pack("<Q", 52) + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,1]}}'],
)  # fmt: skip
def test_hostile_state_is_refused(folder: Path, content: bytes) -> None:
    (folder / "state.safetensors").write_bytes(content)
    edit(folder, digest=_digest(content))
    with pytest.raises(InputError, match=r"state\.safetensors"):
        load_agent(folder)


@pytest.mark.parametrize("name", ["agent.json", "state.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} does not exist"):
        load_agent(folder)


@pytest.mark.parametrize("version", [0, 2, "1", True, None, [1]])
def test_another_format_version_is_refused(folder: Path, version: object) -> None:
    edit(folder, format_version=version)
    with pytest.raises(InputError, match="format version"):
        load_agent(folder)


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, '{"format_version": NaN}', "null", "[]", '"agent"', "\ud800".encode("utf-16-le", "surrogatepass"),
     "{" + '"a": 1,' * 200_000 + '"b": 1}'],
)  # fmt: skip
def test_hostile_descriptions_are_refused(folder: Path, content: str | bytes) -> None:
    (folder / "agent.json").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=r"agent\.json"):
        load_agent(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": None},
        {"policy": []},
        {"policy": {"kind": "os.system", "sizes": [2, 2], "activation": "tanh"}},
        {"policy": {"kind": "gaussian", "sizes": [2], "activation": "tanh"}},
        {"policy": {"kind": "gaussian", "sizes": [2, 10**12], "activation": "tanh"}},
        {"policy": {"kind": "gaussian", "sizes": [2, True], "activation": "tanh"}},
        {"policy": {"kind": "gaussian", "sizes": [2, 2], "activation": "__import__"}},
        {"value": {"kind": "value", "sizes": [3, 1], "activation": "tanh"}},
        {"gamma": "0.99"},
        {"gamma": 1.5},
        {"gamma": True},
        {"gae_lambda": None},
        {"iteration": -1},
        {"iteration": 1.0},
        {"action_transform": "exec"},
        {"normalize_advantages": 1},
        {"observation_scaling": {"epsilon": -1, "epsilon_on": "std", "clip": None}},
        {"observation_scaling": {"epsilon": 1e-8, "epsilon_on": "mean", "clip": None}},
        {"regime": {"n_envs": 0, "n_steps": 1, "reset_each_iteration": True}},
        {"environment": {"id": 3, "arguments": {}}},
        {"environment": {"id": "Hopper-v5", "arguments": []}},
        {"algorithm_settings": "rm"},
        {"digest": "../../etc/passwd"},
        {"digest": None},
    ],
)
def test_a_wrong_field_is_refused(folder: Path, changes: dict) -> None:
    edit(folder, **changes)
    with pytest.raises(InputError) as caught:
        load_agent(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        *({"algorithm": name} for name in (r"$\frac$", "a\0b", "\ud800", "x" * 100_000, "", " ", "a\nb", "[/red]", 3)),
        *({"algorithm_settings": {"policy_epochs": value}} for value in ("x", 1e9, 10**9, -1, True, None, [1])),
        *({"algorithm_settings": {"clip": value}} for value in ("0.2", 1e300, -0.1, [], {})),
        {"algorithm_settings": {"optimizer": "__import__"}},
        {"algorithm_settings": {"minibatches": 10**30}},
        *(
            {"environment": {"id": "Hopper-v5", "arguments": {"reset_noise_scale": value}}}
            for value in ("1", 1e308, -1, True, None, [1], {})
        ),
        *({"environment": {"id": "Ant-v5", "arguments": {"frame_skip": v}}} for v in (1e9, 10**9, 0, 1.5, "5", True)),
        {"environment": {"id": "Hopper-v5", "arguments": {"terminate_when_unhealthy": 1}}},
        *(
            {"environment": {"id": "Hopper-v5", "arguments": {"healthy_z_range": pair}}}
            for pair in ([1], [1, 0], [0, "1"], [0, 1e300], 3, [[0, 1], 2])
        ),
        *({"environment": {"id": name, "arguments": {}}} for name in ("", "a b", "a\0", "\ud800", "$x$", "x" * 300)),
        {"regime": {"n_envs": 1, "n_steps": 10**18, "reset_each_iteration": True}},
    ],
    ids=lambda changes: f"{changes!r:.60}".encode("ascii", "backslashreplace").decode().replace("\0", "0"),
)
def test_names_settings_and_arguments_that_are_odd_are_refused(folder: Path, changes: dict) -> None:
    edit(folder, **changes)
    with pytest.raises(InputError, match="is missing or is not what it should be") as caught:
        load_agent(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_whole_numbers_of_hundreds_of_digits_are_refused_where_any_number_may_stand(folder: Path) -> None:
    for changes in (
        {"observation_scaling": {"epsilon": 1e-8, "clip": 10**400}},
        {"environment": {"id": "Hopper-v5", "arguments": {"healthy_reward": 10**400}}},
    ):
        edit(folder, **changes)
        with pytest.raises(InputError):
            describe_environment(load_agent(folder).environment)


def test_the_version_before_may_have_its_own_argument_and_no_other_task() -> None:
    require_from_file(EnvironmentSpec("Ant-v4", {"use_contact_forces": True, "healthy_reward": 1.0}))
    for name, value in (("Ant-v5", True), ("CartPole-v1", True), ("Ant-v4", "file.xml")):
        with pytest.raises(InputError, match="not known to be harmless"):
            require_from_file(EnvironmentSpec(name, {"use_contact_forces": value}))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Hopper-v5", {"xml_file": "/dev/zero"}),
        ("Hopper-v5", {"render_mode": "human"}),
        ("Hopper-v5", {"default_camera_config": {}}),
        ("Ant-v5", {"no_such_argument": 1}),
        ("Pendulum-v1", {"g": 3.7}),
        ("GymV26Environment-v0", {"env_id": "evil:Id"}),
        ("CartPole-v1", {"max_episode_steps": 3}),
    ],
)
def test_arguments_that_are_not_known_to_be_harmless_need_the_user(folder: Path, name: str, arguments: dict) -> None:
    edit(folder, environment={"id": name, "arguments": arguments})
    agent = load_agent(folder)
    assert agent.environment is not None
    with pytest.raises(InputError, match=rf"a file gives environment '{name}' the argument .*give --env {name}"):
        describe_environment(agent.environment)
    if name.endswith("-v5"):
        describe_environment(cl.load(folder, env=name).environment)


def test_known_arguments_of_tasks_are_taken_from_a_file(folder: Path) -> None:
    arguments = {
        "reset_noise_scale": 0,
        "healthy_z_range": [0.5, 2],
        "frame_skip": 2,
        "terminate_when_unhealthy": False,
    }
    edit(folder, environment={"id": "Walker2d-v5", "arguments": {**arguments, "max_episode_steps": 9}})
    described = describe_environment(load_agent(folder).environment)
    assert described["time_limit"] == 9


def test_what_a_file_may_say_are_the_arguments_of_the_tasks() -> None:
    numbers = {field.name for task in TASKS.values() for field in dataclasses.fields(task)} - {"body_mass"}
    assert numbers | {"frame_skip", "max_episode_steps"} == FROM_FILES
    whole = {f.name for kind in ALGORITHMS.values() for f in dataclasses.fields(kind) if f.type in {int, "int"}}
    assert whole
    assert whole - set(_MOST_OF) <= {"total_iterations"}


@pytest.mark.parametrize("name", ["$x$", "a" * 50, "é", ""])
def test_an_algorithm_s_name_that_could_not_be_read_is_not_written(
    agents: list[Agent], tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match=r"algorithm of the agent is .*; give a name of at most 40"):
        save_agent(dataclasses.replace(agents[0], algorithm=name), tmp_path)


@pytest.mark.parametrize(
    "settings", [{"policy_epochs": "x"}, {"clip": None}, {"minibatches": 1.5}, {"policy_epochs": True}, {"clip": "1"}]
)
def test_settings_of_an_update_are_numbers(agents: list[Agent], settings: dict) -> None:
    with pytest.raises(InputError, match=f"{next(iter(settings))} must be"):
        rule_of(dataclasses.replace(agents[0], algorithm_settings=settings))


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("policy.0.weight", None, "lacks policy.0.weight"),
        ("optimizer.value.step", None, "lacks optimizer.value.step"),
        ("returns.count", None, "lacks returns.count"),
        ("policy.../../x", torch.zeros(1), "holds a foreign"),
        ("policy.0.weight", torch.zeros(2, 8), "has shape"),
        ("policy.0.weight", torch.zeros(8, 2, dtype=torch.float64), "has type"),
        ("observations.mean", torch.tensor([0.0, torch.nan], dtype=torch.float64), "not finite"),
        ("policy.log_std", torch.tensor([0.0, torch.inf]), "not finite"),
        ("observations.squares", torch.tensor([0.0, -1.0], dtype=torch.float64), "negative"),
        ("optimizer.policy.exp_avg_sq.0.bias", -torch.ones(8), "negative"),
    ],
)
def test_a_wrong_tensor_is_refused(folder: Path, name: str, tensor: torch.Tensor | None, message: str) -> None:
    edit_state(folder, **{name: tensor})
    with pytest.raises(NonFiniteError if message == "not finite" else InputError, match=message):
        load_agent(folder)


def test_a_disk_that_is_full_leaves_the_old_agent(agents: list[Agent], folder: Path, monkeypatch) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="disk is full"):
        save_agent(agents[1], folder)
    monkeypatch.undo()
    assert load_agent(folder).agent_seed == 0


@pytest.fixture
def run(agents: list[Agent], tmp_path: Path) -> Path:
    for iteration, seed in ((0, 0), (0, 1), (150, 0), (150, 1), (160, 1)):
        agent = dataclasses.replace(agents[seed], iteration=iteration)
        save_agent(agent, checkpoint_folder(tmp_path / "run", iteration, seed))
    return tmp_path / "run"


def found(agents: list[Agent]) -> list[tuple[int | None, int | None]]:
    return [(agent.iteration, agent.agent_seed) for agent in agents]


def test_a_run_gives_the_last_checkpoint_of_every_seed(run: Path) -> None:
    assert found(load_agents(run)) == [(150, 0), (160, 1)]
    assert found(load_agents(str(run), iteration=150)) == [(150, 0), (150, 1)]
    assert found(load_agents(run, seed=0)) == [(150, 0)]
    assert found(load_agents(run, iteration=0, seed=1)) == [(0, 1)]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"iteration": 3}, "it has 0, 150, 160"),
        ({"seed": 7}, "it has 0, 1"),
        ({"iteration": 160, "seed": 0}, "no agent seed 0 at iteration 160"),
    ],
)
def test_what_a_run_lacks_is_named(run: Path, choice: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_agents(run, **choice)


def test_an_agent_folder_a_function_and_an_agent_itself(agents: list[Agent], run: Path) -> None:
    assert found(load_agents(checkpoint_folder(run, 160, 1))) == [(160, 1)]
    assert load_agents(agents[0]) == [agents[0]]
    loaded = load_agents("environments:bandit_agent")
    assert loaded[0].factory == "environments:bandit_agent"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "there is no agent at nowhere"),
        ("no_such_module:agent", "cannot be imported"),
        ("environments:nothing", "has no nothing"),
        ("environments:TARGET", "gives a ndarray"),
    ],
)
def test_names_of_nothing_are_refused(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_agents(source)


@pytest.mark.parametrize("name", ["ppo.zip", "ppo.cleanrl_model", "policy.pth"])
@pytest.mark.parametrize(
    ("content", "words"), [(b"PK", "is a damaged archive"), (b"something else", "from_torch|holds no agent")]
)
def test_files_that_are_no_agent_are_told_in_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        load_agents(tmp_path / name)


def test_a_folder_without_an_agent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no agent"):
        load_agents(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_agents(tmp_path)


def test_an_agent_without_critic_needs_no_values(agents: list[Agent], tmp_path: Path) -> None:
    state = {n: t for n, t in agents[0].state.items() if not n.startswith(("value.", "optimizer.value."))}
    agent = dataclasses.replace(agents[0], value=None, state=state)
    assert load_agent(save_agent(agent, tmp_path)).value is None
    assert isinstance(agents[0].value, MLPValue)


def test_one_agent_is_loaded_as_one_and_several_as_a_list(agents: list[Agent], tmp_path: Path) -> None:
    for seed, agent in enumerate(agents):
        save_agent(agent, checkpoint_folder(tmp_path, 3, seed))
    several, one = cl.load(tmp_path), cl.load(tmp_path, seed=1, env="Ant-v5")
    assert isinstance(several, list)
    assert [agent.agent_seed for agent in several] == [0, 1]
    assert one.environment == EnvironmentSpec("Ant-v5")
    assert isinstance(cl.load(checkpoint_folder(tmp_path, 3, 0)), Agent)


def test_one_agent_has_to_be_the_one_that_was_asked_for(agents: list[Agent], tmp_path: Path) -> None:
    save_agent(dataclasses.replace(agents[0], iteration=150, agent_seed=3), tmp_path)
    assert len(load_agents(tmp_path, iteration=150, seed=3)) == 1
    with pytest.raises(InputError, match="is not a run, and its iteration is 150, not 7; leave the iteration out"):
        load_agents(tmp_path, iteration=7)
    with pytest.raises(InputError, match="its agent seed is 3, not 0"):
        load_agents(tmp_path, seed=0)
    with pytest.raises(InputError, match="misbehaving:corridor is not a run, and its iteration is not known, not 7"):
        load_agents("misbehaving:corridor", iteration=7)


@pytest.mark.parametrize("source", [None, 3, "a" * 5000, "a\0b"])
def test_what_can_be_no_name_is_refused(source: object) -> None:
    with pytest.raises(
        InputError, match=r"names no agent; give a run folder|cannot be read .File name too long|there is no agent at"
    ):
        load_agents(source)  # type: ignore[arg-type]
