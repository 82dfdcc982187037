"""True rewards of many policies at once: the same episodes as each alone, and explosions stay where they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import PolicyError
from closerlook.measurements.episode_returns import exploded, sample_returns, unfinished, with_parameters
from closerlook.measurements.stream_sums import StreamRange
from closerlook.nn.networks import flatten
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout, rollout_episodes
from closerlook.statistics.mean_returns import mean_returns, paired_gains
from environments import HORIZON, linear_quadratic_agent, linear_quadratic_return
from small_agents import gaussian_agent

HOPPER = EnvironmentSpec("Hopper-v5")
QUADRATIC = EnvironmentSpec("environments:make_linear_quadratic")


def flat(agent) -> np.ndarray:
    return flatten(agent.policy_parameters, list(agent.policy.parameter_shapes)).double().numpy()


def neighbors(agent, count: int, size: float = 0.1) -> np.ndarray:
    theta = flat(agent)
    return theta + size * np.random.default_rng(0).standard_normal((count, len(theta)))


def sample(agent, parameters, streams=range(3), seeds=None, environment=HOPPER, n_steps=60):
    part = StreamRange(0, "returns", streams.start, streams.stop)
    own = [0] * len(parameters) if seeds is None else seeds
    return sample_returns(agent, parameters, environment, Sampling(n_steps), part, own)


def test_episodes_alone_are_those_of_the_rollout():
    asked = {"seeds": [5], "purpose": "test", "streams": [0, 3]}
    sampling = Sampling(60, finish_episodes=True)
    whole = rollout(gaussian_agent(11, 3), HOPPER, sampling, **asked).episodes
    alone = rollout_episodes(gaussian_agent(11, 3), HOPPER, sampling, **asked)
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(getattr(alone, name), values)


def test_policies_together_and_alone_and_streams_apart_give_the_same_bytes():
    agent = gaussian_agent(11, 3)
    parameters = neighbors(agent, 5)
    together = sample(agent, parameters)
    for at in range(5):
        alone = sample(agent, parameters[at : at + 1])
        apart = [sample(agent, parameters[at : at + 1], range(s, s + 1)) for s in range(3)]
        for name in ("returns", "squares", "episodes", "steps"):
            np.testing.assert_array_equal(together[name][at], alone[name][0])
            np.testing.assert_array_equal(together[name][at], np.concatenate([one[name][0] for one in apart]))


def test_sums_are_those_of_the_episodes_listed():
    found = sample(gaussian_agent(11, 3), neighbors(gaussian_agent(11, 3), 2))
    for policy in range(2):
        for stream in range(3):
            own = found["episode_return"][(found["episode_policy"] == policy) & (found["episode_stream"] == stream)]
            assert len(own) == found["episodes"][policy, stream] > 1
            assert own.sum() == pytest.approx(found["returns"][policy, stream])
            assert (own**2).sum() == pytest.approx(found["squares"][policy, stream])
    assert (found["steps"] >= 60).all()


def test_a_policy_that_explodes_is_not_known_and_the_others_are():
    agent = gaussian_agent(11, 3)
    parameters = neighbors(agent, 3)
    parameters[1] = np.inf
    found, without = sample(agent, parameters), sample(agent, parameters[[0, 2]])
    assert np.isnan(found["returns"][1]).all()
    np.testing.assert_array_equal(found["returns"][[0, 2]], without["returns"])


def test_same_seeds_are_common_random_numbers_and_others_are_not():
    agent = gaussian_agent(11, 3)
    same = np.repeat(flat(agent)[None], 2, axis=0)
    common = sample(agent, same)
    np.testing.assert_array_equal(common["returns"][0], common["returns"][1])
    apart = sample(agent, same, seeds=[0, 1])
    assert (apart["returns"][0] != apart["returns"][1]).all()
    np.testing.assert_array_equal(apart["returns"][0], common["returns"][0])


def test_only_what_acting_needs_is_taken_over():
    agent = gaussian_agent(11, 3)
    population = with_parameters(agent, neighbors(agent, 4))
    assert population.population == 4
    assert population.value is None
    assert all(name.startswith(("policy.", "observations.")) for name in population.state)
    np.testing.assert_allclose(
        flatten(population.policy_parameters, list(agent.policy.parameter_shapes), stacked=True).numpy(),
        neighbors(agent, 4).astype(np.float32),
    )


def test_returns_and_gains_of_a_linear_quadratic_environment_are_recovered():
    agent = linear_quadratic_agent()
    parameters = np.stack([flat(agent), *neighbors(agent, 3, 0.2)])
    population = with_parameters(agent, parameters)
    exact = np.array([float(linear_quadratic_return(one.policy_parameters)) for one in population.unstack()])
    found = sample(agent, parameters, range(40), environment=QUADRATIC, n_steps=HORIZON * 8)
    mean = mean_returns(found["returns"], found["episodes"], found["squares"], confidence=0.999)
    gain = paired_gains(found["returns"], found["episodes"], 0, confidence=0.999)
    assert ((mean.low < exact) & (exact < mean.high)).all()
    assert ((gain.low <= exact - exact[0] + 1e-12) & (exact - exact[0] <= gain.high + 1e-12)).all()
    widths = mean.high - mean.low
    assert ((gain.high - gain.low)[1:] < np.hypot(widths[1:], widths[0])).all()  # what shared draws buy


def torch_agent(kind: str, size: int = 3, actions: int = 2, **fields) -> Agent:
    """A linear policy whose distribution torch checks: it refuses what is no number."""
    torch.manual_seed(0)
    policy = torch.nn.Sequential(torch.nn.Linear(size, 4), torch.nn.Linear(4, actions))

    def build(mean):
        one = getattr(torch.distributions, kind)(mean, torch.ones_like(mean), validate_args=True)
        return torch.distributions.Independent(one, 1)

    return Agent.from_torch(policy, distribution=build, **fields)


@pytest.mark.parametrize("kind", ["Normal", "Laplace"])
@pytest.mark.parametrize("size", [np.inf, 3e38])
def test_a_point_that_the_users_policy_refuses_is_not_known_and_the_others_are(kind, size):
    """3e38 fits single precision; what the network makes of it is no number, which torch refuses as a mean."""
    agent = torch_agent(kind)
    parameters = neighbors(agent, 3)
    parameters[1] = size * np.sign(parameters[1])
    found = sample(agent, parameters, environment=QUADRATIC, n_steps=16)
    without = sample(agent, parameters[[0, 2]], environment=QUADRATIC, n_steps=16)
    assert exploded(found).tolist() == [False, True, False]
    assert not unfinished(found).any()
    np.testing.assert_array_equal(found["returns"][[0, 2]], without["returns"])


def test_a_policy_that_fails_at_the_agent_itself_is_told():
    def build(mean):
        raise ValueError("no distribution")

    broken = replace(torch_agent("Normal"), policy=replace(torch_agent("Normal").policy, build=build))
    with pytest.raises(PolicyError, match="no distribution"):
        sample(broken, np.stack([flat(broken) + 1, flat(broken)]), environment=QUADRATIC, n_steps=16)


def test_an_episode_that_was_given_up_is_no_explosion():
    """A corridor without an end, and one policy that explodes in it."""
    agent = gaussian_agent(2, 1)
    parameters = np.stack([flat(agent), np.full_like(flat(agent), np.inf)])
    part = StreamRange(0, "returns", 0, 2)
    endless = EnvironmentSpec("tiny_environments:Corridor")
    found = sample_returns(agent, parameters, endless, Sampling(8, longest_finish=16), part, [0, 0])
    assert exploded(found).tolist() == [False, True]
    assert unfinished(found).tolist() == [True, False]
    assert np.isfinite(found["steps"][0]).all()
