"""Restarting the simulator from states of a rollout."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.utils import EzPickle

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.diagnostics.values import value_prediction
from closerlook.errors import InputError
from closerlook.measurements.fitted_values import Critic
from closerlook.measurements.restarted_values import sample_restarts
from closerlook.measurements.stream_sums import StreamRange
from closerlook.simulation.engine import make_engine
from closerlook.simulation.records import Sampling
from closerlook.simulation.restarts import Origin, State, restart
from closerlook.simulation.rollout import rollout
from environments import endless_quadratic_agent, quadratic_value
from small_agents import gaussian_agent


@pytest.mark.parametrize("task", ["Hopper-v5", "Humanoid-v5", "Ant-v5"])
@pytest.mark.parametrize("choice", ["fastest", "gymnasium"])
def test_a_restored_lane_goes_on_to_the_bit(task, choice):
    engine = make_engine(EnvironmentSpec(task), 2, choice)
    draws = np.random.default_rng(0)
    engine.reset(np.array([0]), [7])
    engine.reset(np.array([1]), [8])
    actions = draws.uniform(-0.4, 0.4, (30, 1, engine.action_space.shape[0])).astype(np.float32)
    for action in actions[:10]:
        engine.step(np.array([0]), action)
    saved = engine.save(0)
    on = [engine.step(np.array([0]), action) for action in actions[10:]]
    for lane in (1, 0):
        engine.restore(lane, saved, 5)
        again = [engine.step(np.array([lane]), action) for action in actions[10:]]
        for left, right in zip(on, again, strict=True):
            assert np.array_equal(left.observations, right.observations)
            assert np.array_equal(left.rewards, right.rewards)
            assert np.array_equal(left.terminated, right.terminated)
    engine.close()


def origin_of(agent: Agent, n_steps: int, streams=range(3), **sampling) -> tuple[Agent, Origin]:
    agents = Agent.stack([agent])
    asked = Sampling(n_steps, **sampling)
    sampled = rollout(agents, agent.environment, asked, seeds=[4], purpose="p", streams=streams)
    return agents, Origin(sampled, 4, "p", list(streams))


def hopper(arguments=None) -> Agent:
    return gaussian_agent(11, 3, environment=EnvironmentSpec("Hopper-v5", arguments or {}))


STATES = [State(0, 5), State(2, 40), State(1, 17), State(1, 18), State(2, 0)]


@pytest.mark.parametrize("copies", [3, 16, 20])
def test_nothing_depends_on_which_other_states_are_asked(copies):
    agent = hopper()
    agents, origin = origin_of(agent, 60)
    all_of_them = restart(agents, agent.environment, origin, STATES, copies=copies, steps=25)
    for number, state in enumerate(STATES):
        alone = restart(agents, agent.environment, origin, [state], copies=copies, steps=25)
        assert np.array_equal(alone.rewards[0], all_of_them.rewards[number])
        assert np.array_equal(alone.length[0], all_of_them.length[number])
        assert np.array_equal(alone.observations[0], origin.sampled.observations[0, state.stream, state.time])
    assert len({rewards.tobytes() for rewards in all_of_them.rewards.reshape(-1, 25)}) == copies * len(STATES)


def test_copies_stop_at_terminations_not_at_time_limits():
    agent = hopper({"max_episode_steps": 12})
    agents, origin = origin_of(agent, 60)
    found = restart(agents, agent.environment, origin, STATES[:2], copies=8, steps=200)
    assert found.terminated.all()  # an untrained hopper falls
    assert 12 < found.length.max() < 200
    for rewards, length in zip(found.rewards.reshape(16, -1), found.length.ravel(), strict=True):
        assert rewards[:length].all()
        assert not rewards[length:].any()


def test_the_mean_over_copies_is_the_value():
    agent = endless_quadratic_agent(noise=0.1)
    agents, origin = origin_of(agent, 30, range(12))
    states = [State(stream, 10) for stream in range(12)]
    found = restart(agents, agent.environment, origin, states, copies=100, steps=80)
    returns = found.rewards @ 0.9 ** np.arange(80)
    matrix, vector, constant = quadratic_value(agent)
    x = found.observations.astype(np.float64)
    exact = -(np.einsum("mi,ij,mj->m", x, matrix, x) + 2 * x @ vector + constant)
    errors = returns.std(axis=1, ddof=1) / np.sqrt(100)
    assert np.all(np.abs(returns.mean(axis=1) - exact) < 4 * errors)
    assert np.corrcoef(returns.mean(axis=1), exact)[0, 1] > 0.9


class Forgetful(gymnasium.Env):
    """Draws on a generator that no reset knows."""

    observation_space = Box(-np.inf, np.inf, (1,), np.float64)
    action_space = Box(-1, 1, (1,), np.float32)
    hidden = np.random.default_rng(0)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1), {}

    def step(self, action):
        return self.hidden.standard_normal(1), 1.0, False, False, {}


class Uncopyable(Forgetful):
    """Holds what cannot be copied; goes nowhere."""

    def step(self, action):
        return np.zeros(1), 1.0, False, False, {}

    def __deepcopy__(self, memo):
        raise TypeError("a handle of a window")


class BuiltAnew(Uncopyable, EzPickle):
    """A copy of it would be another one."""

    def __init__(self) -> None:
        EzPickle.__init__(self)

    __deepcopy__ = None


@pytest.mark.parametrize(
    ("kind", "words"),
    [("Forgetful", "same state"), ("Uncopyable", "cannot be copied"), ("BuiltAnew", "built anew")],
)
def test_what_cannot_be_restarted_is_named(kind, words):
    agent = gaussian_agent(1, 1, environment=EnvironmentSpec(f"test_restarts:make_{kind.lower()}"))
    agents, origin = origin_of(agent, 20)
    with pytest.raises(InputError, match=words):
        restart(agents, agent.environment, origin, [State(0, 5)], copies=2, steps=3)


@pytest.mark.parametrize("kind", ["uncopyable", "builtanew"])
def test_what_cannot_be_copied_is_told_before_anything_is_sampled(kind, tmp_path):
    agent = gaussian_agent(1, 1, environment=EnvironmentSpec(f"test_restarts:make_{kind}"))
    with pytest.raises(InputError, match=r"cannot be copied.*--restarts 0"):
        value_prediction(agent, workers=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def make_forgetful() -> gymnasium.Env:
    return Forgetful()


def make_builtanew() -> gymnasium.Env:
    return BuiltAnew()


def make_uncopyable() -> gymnasium.Env:
    return Uncopyable()


def test_a_state_whose_episode_began_in_the_burn_in_is_refused():
    agent = endless_quadratic_agent()
    agents, origin = origin_of(agent, 20, burn_in=50)
    with pytest.raises(ValueError, match="before its stream"):
        restart(agents, agent.environment, origin, [State(0, 5)], copies=2, steps=3)


def test_states_are_those_of_the_pool_where_training_does_not_reset():
    """Streams of 4 steps from inside episodes of 50: most pairs are of an episode that began before its stream."""
    agent, streams = gaussian_agent(2, 1), range(40)
    corridor = EnvironmentSpec("tiny_environments:limited_corridor", {"limit": 50})
    sampling, part = Sampling(4, burn_in=50), StreamRange(2, "restarts", streams.start, streams.stop)
    time, mark = (Critic(lambda _, x, place=place: x[..., place], {}) for place in (0, 1))
    found = sample_restarts(agent, corridor, sampling, part, {"fitted": time}, 2, [time, mark])
    pool = rollout(agent, corridor, sampling, seeds=[2], purpose="restarts", streams=streams).observations[0]
    assert found["updated_values"].shape == (40, 2)
    for stream, state in zip(found["stream"], found["updated_values"], strict=True):
        assert state.astype(np.float32).tolist() in pool[stream].tolist()
    assert np.unique(found["values"][:, 1]).size > 20  # and of all times of an episode, which lasts on
    assert (found["returns"] > found["values"][:, [1]]).all()
