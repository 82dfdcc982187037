"""Odd environments: nothing is measured wrongly in silence; what is right is taken, the rest named in one line."""

import copy
import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from closerlook import gradient_quality
from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import InputError
from closerlook.simulation.acting import make_transform
from closerlook.simulation.answers import read_flag, read_observation, read_reward
from closerlook.simulation.engine import describe_environment, make_engine
from closerlook.simulation.generators import find_generators
from closerlook.simulation.records import Sampling
from closerlook.simulation.restarts import require_restarts
from closerlook.simulation.rollout import rollout
from odd_environments import Bits, OwnGenerator
from small_agents import gaussian_agent

TESTS = Path(__file__).parents[1]
LANE = np.array([0])
GENERATORS = ("OwnGenerator", "PhiloxOwn", "Legacy", "Bits", "Torch", "SameTwice", "ItsMethod", "Plain")


def spec(name: str, **arguments: object) -> EnvironmentSpec:
    return EnvironmentSpec(f"odd_environments:{name}", arguments)


def sample(name: str, agent: Agent | None = None, *, steps: int = 12, **arguments: object):
    agent = agent or gaussian_agent(3, 1, action_transform="clip")
    return rollout(agent, spec(name, **arguments), Sampling(steps), seeds=[3], purpose="test", streams=[0, 1])


# --- what step() and reset() answer


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.zeros(1), r"an observation of shape \(1,\); it has to be 3 numbers"),
        (np.zeros((3, 3)), r"an observation of shape \(3, 3\)"),
        (np.array(1.0), r"an observation of shape \(\)"),
        (np.zeros(3) + 1j, "an observation array.*real numbers"),
        (["a", "b", "c"], "an observation"),
        ([[1.0], [1.0, 2.0], [3.0]], "an observation"),
        (None, "an observation None"),
        ({"x": 1.0}, "an observation {'x': 1.0}"),
        (np.array([1.0, None, 2.0], dtype=object), "an observation"),
        (torch.zeros(3, requires_grad=True), "an observation tensor"),
    ],
)
def test_an_observation_that_is_none_is_named(value, told):
    with pytest.raises(InputError, match=told):
        read_observation(value, "step() of x", 3)


@pytest.mark.parametrize(
    "value",
    [
        [0.0, 1.0, 2.0], (0, 1, 2), np.array([[0.0], [1.0], [2.0]]), torch.tensor([0.0, 1.0, 2.0]),
        np.array([0, 1, 2], np.uint8), np.array([0.0, 1, 2], dtype=object), np.float16([0, 1, 2]),
    ],
)  # fmt: skip
def test_an_observation_that_is_right_is_taken(value):
    assert np.array_equal(read_observation(value, "x", 3), [0.0, 1.0, 2.0])


@pytest.mark.parametrize("value", [None, "0.5", b"1", 1j, [], [1.0, 2.0], np.zeros(2), {}, object()])
def test_a_reward_that_is_no_number_is_named(value):
    with pytest.raises(InputError, match=r"x gave a reward .*one real number"):
        read_reward(value, "x")
    with pytest.raises(InputError, match="x gave a reward"):
        read_reward(10**400, "x")


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), [2.0], np.array([2]), np.array([[2.0]]), torch.tensor(2.0)])
def test_a_reward_that_is_one_is_taken(value):
    assert read_reward(value, "x") == 2.0
    assert read_reward(True, "x") == 1.0


@pytest.mark.parametrize("value", [None, "False", "", 2, 0.5, math.nan, [True, False], np.zeros(2, bool), {}, 1j])
def test_a_flag_that_is_none_is_named(value):
    with pytest.raises(InputError, match=r"x gave terminated .*a boolean"):
        read_flag(value, "x", "terminated")


@pytest.mark.parametrize("value", [True, 1, np.True_, np.array([True]), [True], torch.tensor(True), 1.0])
def test_a_flag_that_is_one_is_taken(value):
    assert read_flag(value, "x", "terminated") is True


@pytest.mark.parametrize(("field", "what"), [(0, [1.0]), (1, "1"), (2, "False"), (3, "no")])
def test_a_rollout_refuses_an_answer_by_the_name_of_its_field(field, what):
    names = ("an observation", "a reward", "terminated", "truncated")
    with pytest.raises(InputError, match=rf"step\(\) of environment .*Answers' gave {names[field]}"):
        sample("Answers", field=field, what=what)


def test_lists_in_place_of_arrays_give_the_same_numbers():
    listed = sample("Answers", field=1, what=[2.0])
    assert (listed.rewards == 2.0).all()
    with pytest.raises(InputError, match=r"reset\(\) of environment .* gave an observation \[\]|shape \(0,\)"):
        sample("Answers", field=1, what=[], at_reset=True)


# --- generators at restarts


def _copies(name: str) -> list[bytes]:
    """Return what three copies of a state come to by the same actions, the third with the seed of the first."""
    engine = make_engine(spec(name), 1)
    engine.reset(LANE, [2**40 + 1])
    engine.step(LANE, np.zeros((1, 1), np.float32))
    saved, found = engine.save(0), []
    for seed in (1, 2, 1):
        engine.restore(0, saved, seed)
        steps = [engine.step(LANE, np.zeros((1, 1), np.float32)) for _ in range(3)]
        found.append(b"".join(step.observations.tobytes() for step in steps))
    engine.close()
    return found


@pytest.mark.parametrize("name", GENERATORS)
def test_copies_draw_noise_of_their_own(name, recwarn):
    first, second, again = _copies(name)
    assert first != second
    assert first == again
    require_restarts(spec(name))
    assert not recwarn.list


def test_np_random_goes_on_as_after_a_reset_of_that_seed():
    plain, same = _copies("Plain"), _copies("SameTwice")
    expected = np.random.default_rng(1).standard_normal((3, 3))
    assert plain[0] == same[0] == expected.tobytes()


def test_generators_are_found_wherever_they_are():
    def within():
        return draws.random()

    draws, spare, coin = np.random.default_rng(0), np.random.RandomState(0), torch.Generator()
    holder = type("Holder", (), {})()
    holder.inner = [({"a": (spare, spare)},), within, coin.manual_seed]
    holder.itself = holder
    assert find_generators(holder) == [spare, draws, coin]
    assert find_generators(gymnasium.make("CartPole-v1").unwrapped) == []


def test_a_generator_that_copies_would_share_is_refused():
    with pytest.raises(InputError, match=r"cannot be copied.*one random generator.*--restarts 0"):
        require_restarts(spec("InAFunction"))


def test_noise_that_is_not_found_is_warned_of():
    with pytest.warns(UserWarning, match="copies of environment 'odd_environments:Hidden' never differ"):
        require_restarts(spec("Hidden"))


@pytest.mark.parametrize("name", ["CartPole-v1", "Hopper-v5", "Pendulum-v1"])
def test_deterministic_environments_of_gymnasium_are_not_warned_of(name, recwarn):
    require_restarts(EnvironmentSpec(name))
    assert not recwarn.list


# --- wrappers and environments that remember


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("normalized_observations", "NormalizeObservation of environment .*obs_rms.mean.*observation_mean"),
        ("normalized_rewards", "NormalizeReward of environment .*rewards are measured unscaled"),
        ("scaled", "remembers across resets: an episode played again"),
        ("counts", "remembers across resets"),
        ("Curriculum", "remembers across resets"),
    ],
)
def test_what_remembers_across_resets_is_refused(name, told):
    with pytest.raises(InputError, match=told):
        describe_environment(spec(name))


@pytest.mark.parametrize("name", ["normalized_observations", "normalized_rewards"])
def test_frozen_statistics_are_measured(name):
    describe_environment(spec(name, frozen=True))


@pytest.mark.parametrize("name", ["Plain", "Endless", "Short", "FailsLater", "Free", "grid", "choices"])
def test_the_trial_is_silent_where_episodes_come_again(name, recwarn):
    describe_environment(spec(name))
    assert not recwarn.list


def test_randomness_that_no_seed_decides_is_warned_of():
    with pytest.warns(UserWarning, match="does not answer alike when an episode is played twice"):
        describe_environment(spec("Global"))


# --- seeds


@pytest.mark.parametrize("name", ["Legacy", "Narrow", "NarrowByAssertion"])
def test_seeds_are_narrowed_where_wide_ones_are_refused(name):
    engine = make_engine(spec(name), 2)
    seeds = [2**62 + 5, 2**62 + 5 + 2**31]
    first = engine.reset(np.array([0, 1]), seeds)
    assert np.array_equal(first[0], first[1])  # equal below 2**31
    assert np.array_equal(first[0], engine.reset(LANE, [5])[0])
    engine.close()


def test_all_others_keep_theirs():
    engine = make_engine(spec("Plain"), 1)
    found = engine.reset(LANE, [2**62 + 5])
    assert np.array_equal(found[0], np.random.default_rng(2**62 + 5).standard_normal(3))
    engine.close()


# --- actions


@pytest.mark.parametrize("transform", ["clip", "squash"])
@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (-0.1, 0.1, "float64"), (-0.7, 1 / 3, "float64"), (-0.1, 0.1, "float32"), (-0.1, 0.1, "float16"),
        (-1e29, 1e29, "float64"), (-1e29, 1e29, "float32"), (0.1, 0.1 + 1e-15, "float64"),
        (-10, 10, "int64"), (0, 20, "uint8"), (-10, 10, "int8"), (-(2**63), 2**63 - 1, "int64"),
    ],
)  # fmt: skip
def test_actions_stay_within_the_box(transform, low, high, dtype):
    box = gymnasium.spaces.Box(np.array([low], dtype), np.array([high], dtype), (1,), np.dtype(dtype).type)
    actions = np.array([[0.0], [-1e30], [1e30], [50.0], [-50.0], [0.0999999], [0.4], [-0.6], [17.3]], np.float32)
    found = make_transform(transform, box)(actions)
    assert found.dtype == box.dtype
    assert all(box.contains(row) for row in found)
    if abs(high) < 2**60:
        assert found[1:3].ravel().tolist() == pytest.approx([box.low[0], box.high[0]], rel=1e-6)


@pytest.mark.parametrize("bound", [np.inf, 3e38])
def test_actions_are_not_squashed_to_bounds_that_are_none(bound):
    with pytest.raises(InputError, match="no finite bounds; use clip or none"):
        make_transform("squash", gymnasium.spaces.Box(-bound, bound, (1,), np.float32))


def test_whole_numbers_are_rounded_and_never_wrap():
    signed = gymnasium.spaces.Box(-10, 10, (1,), np.int8)
    found = make_transform("clip", signed)(np.array([[-0.6], [0.4], [2.5], [200.0], [-129.0]], np.float32))
    assert found.ravel().tolist() == [-1, 0, 2, 10, -10]
    squashed = make_transform("squash", signed)(np.array([[0.0], [0.1], [9.0]], np.float32))
    assert squashed.ravel().tolist() == [0, 1, 10]
    for kind in (np.int8, np.uint8, np.int64):
        with pytest.raises(InputError, match=r"whole numbers .*action_transform=\"clip\""):
            make_transform("none", gymnasium.spaces.Box(0, 10, (1,), kind))


def test_squashing_and_clipping_to_a_float32_box_are_what_they_were():
    box = gymnasium.spaces.Box(np.float32([-2.0, -0.4]), np.float32([2.0, 1.3]))
    actions = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)
    squashed = box.low + (box.high - box.low) / 2 * (np.tanh(actions) + np.float32(1))
    assert np.array_equal(make_transform("squash", box)(actions), squashed)
    assert np.array_equal(make_transform("clip", box)(actions), np.clip(actions, box.low, box.high))
    assert make_transform("none", box)(actions) is actions


@pytest.mark.parametrize("box", [(-0.1, 0.1, "float64"), (-10, 10, "int64"), (0, 20, "uint8"), (-0.3, 0.3, "float16")])
def test_environments_find_actions_in_their_space(box):
    sampled = sample("boxed", low=[box[0]], high=[box[1]], dtype=box[2])  # which asserts it at every step
    assert np.isfinite(sampled.rewards).all()


def test_a_choice_that_there_is_not_is_named():
    engine = make_engine(spec("choices", n=3, start=-1), 1)
    engine.reset(LANE, [0])
    engine.step(LANE, np.array([2]))
    for choice in (3, -1):
        with pytest.raises(InputError, match=f"chose action {choice}, and environment .* has those from 0 to 2"):
            engine.step(LANE, np.array([choice]))
    engine.close()


# --- arguments of EnvironmentSpec


@pytest.mark.parametrize(
    "value", [object(), np.zeros(2), torch.tensor(1.0), {1: 2}, {"a": [set()]}, lambda: None, 1j, b"x"]
)
def test_arguments_that_are_no_json_are_named(value):
    for use in (describe_environment, lambda asked: gradient_quality(gaussian_agent(3, 1), asked)):
        with pytest.raises(InputError, match="argument limit of environment 'odd_environments:Plain' is or holds a"):
            use(spec("Plain", limit=value))


def test_numbers_of_numpy_become_python_s():
    given = EnvironmentSpec("x", {"a": np.int64(3), "b": [np.float32(0.5)], "c": (1, np.True_)})
    assert given.to_json() == {"id": "x", "arguments": {"a": 3, "b": [0.5], "c": (1, True)}}
    assert json.dumps(given.to_json())


@pytest.mark.parametrize("name", [None, 3, "", b"Hopper-v5"])
def test_an_id_that_is_none_is_named(name):
    with pytest.raises(InputError, match="the id of an environment must be a text"):
        EnvironmentSpec(name)
    with pytest.raises(InputError, match="arguments of environment 'x' are"):
        EnvironmentSpec("x", [("a", 1)])


@pytest.mark.parametrize("value", ["0.99", None, torch.tensor(0.99), object(), True, math.nan, -1.0, 10**50, 1j])
@pytest.mark.parametrize("field", ["gamma", "gae_lambda"])
def test_fractions_of_an_agent_are_numbers(field, value):
    with pytest.raises(InputError, match=rf"{field} of the agent must be from 0 to 1 .*; give a number from 0 to 1"):
        gaussian_agent(3, 1, **{field: value})


def test_fractions_of_numpy_are_taken():
    with pytest.raises(InputError, match=r"gamma of the agent must be from 0 to 1 \(got a far larger number"):
        gaussian_agent(3, 1, gamma=10**5000)
    agent = gaussian_agent(3, 1, gamma=np.float32(0.5), gae_lambda=1)
    assert (agent.gamma, type(agent.gamma), type(agent.gae_lambda)) == (0.5, float, int)


# --- the way to another process


def test_a_name_comes_back_as_it_was():
    for name in (EnvironmentSpec("Hopper-v5", {"frame_skip": 2}), EnvironmentSpec("a:b", {}, trusted=False)):
        assert copy.deepcopy(name) == name
        assert copy.deepcopy(name).trusted is name.trusted
        assert dataclasses.replace(name, id="x").id == "x"


SCRIPT = """
import sys
import cloudpickle, gymnasium as gym, numpy as np, torch
from torch.distributions import Categorical
import closerlook as cl
from closerlook.execution import Job, content_key, run_jobs
from closerlook.measurements.stream_sums import StreamRange, sample_sums
from closerlook.simulation.records import Sampling

class Walk(gym.Env):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)
    def __init__(self, push=0.1): self.push = push
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.standard_normal(2); self.t = 0
        return self.x.astype(np.float32), {}
    def step(self, a):
        self.x = self.x * 0.9 + (a - 0.5) * self.push; self.t += 1
        return self.x.astype(np.float32), float(self.x[0]), self.t >= 8, False, {}

class Tilted(gym.RewardWrapper):
    def reward(self, reward): return reward + 1

def make(): return Tilted(Walk())

gym.register("Walk-v0", entry_point=Walk, max_episode_steps=7)
gym.register("Short-v0", entry_point=lambda **given: Tilted(Walk(**given)), kwargs={"push": 0.3})
gym.register("named/Walk-v3", entry_point="__main__:Walk")
sys.modules["beside"] = beside = type(sys)("beside")
exec(
    "import gymnasium as gym\\ndef make(): return gym.wrappers.FlattenObservation(gym.make('CartPole-v1'))",
    beside.__dict__,
)
cloudpickle.register_pickle_by_value(beside)
gym.register("Acrobot-v1", entry_point=Walk, kwargs={"push": 0.5})

def agent(size):
    torch.manual_seed(0)
    policy = torch.nn.Linear(size, 2)
    return cl.Agent.from_torch(policy, distribution=lambda l: Categorical(logits=l), regime=cl.Regime(1, 32))

def norm(name, workers):
    asked = {"pairs": 256, "sizes": [64], "estimates": 2, "seed": 0, "workers": workers}
    return cl.gradient_quality(agent(2), name, **asked).gradient_norm.values.tolist()

def job(name):
    spec, few = cl.EnvironmentSpec(name), StreamRange(0, "travels", 0, 4)
    own = agent(4 if "beside" in name else 2)
    asked = {"agent": own, "environment": spec, "sampling": Sampling(32), "streams": few}
    return Job(name, content_key(name), sample_sums, asked)

# two workers for all of these, and two for one in a whole measurement
names = "beside:make", "Walk-v0", "Short-v0", "__main__:make", "__main__:Walk", "named/Walk-v3", "Acrobot-v1"
alone, shared = (run_jobs([job(name) for name in names], workers=workers) for workers in (1, 2))
for name, one, two in zip(names, alone, shared):
    one, two = (answer["streams.scores"] for answer in (one, two))
    print(name, one.tobytes() == two.tobytes(), abs(one).sum() > 0)
alone = norm("__main__:Walk-v0", 1)
print("__main__:Walk-v0", alone == norm("__main__:Walk-v0", 2), alone[0] > 0)
"""


def test_what_a_script_registers_or_defines_travels_to_workers(tmp_path):
    """In one process and in two: the same numbers, for environments that no worker could import."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "ignore:Overriding", "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split(" ", 1)[1] for line in done.stdout.splitlines()] == ["True True"] * 8
    assert "cannot travel" not in done.stderr


# --- the rest


def test_an_environment_that_fails_in_mid_episode_is_named():
    with pytest.raises(InputError, match=r"FailsLater' failed \(KeyError: 'joint_3', odd_environments.py line \d+\)"):
        sample("FailsLater")


def test_episodes_of_one_step_and_without_end_are_measured():
    short, endless = sample("Short"), sample("Endless", steps=30)
    assert short.terminated.all()
    assert not endless.terminated.any()
    assert isinstance(Bits, type)
    assert issubclass(Bits, OwnGenerator)
