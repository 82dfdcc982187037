"""The closed loop on environments whose trajectories are worked out by hand."""

import dataclasses
import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch

import tiny_environments  # noqa: F401 - registers its ids
from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import InputError, NonFiniteError
from closerlook.randomness import derive_seed, generator
from closerlook.simulation.rollout import Rollout, Sampling, rollout
from small_agents import categorical_agent, gaussian_agent, with_moments

CORRIDOR = "tiny_environments:Corridor"
DRIFT = EnvironmentSpec("tiny_environments:Drift", {})


def run(environment: str | EnvironmentSpec, agents: Agent, sampling: Sampling, streams=(0,), **options) -> Rollout:
    spec = environment if isinstance(environment, EnvironmentSpec) else EnvironmentSpec(environment)
    seeds = options.pop("seeds", range(agents.population or 1))
    return rollout(agents, spec, sampling, seeds=seeds, purpose="test", streams=streams, **options)


def corridor(sampling: Sampling, streams=(0,), name: str = CORRIDOR, **arguments) -> Rollout:
    return run(EnvironmentSpec(name, arguments), gaussian_agent(2, 1), sampling, streams)


def arrays(value: object) -> Iterator[tuple[str, np.ndarray]]:
    """Every array of a rollout, by name."""
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from ((f"{field.name}.{name}", array) for name, array in arrays(inner))
        elif inner is not None:
            yield field.name, inner


def assert_same_bytes(one: Rollout, other: Rollout) -> None:
    for (name, a), (_, b) in zip(arrays(one), arrays(other), strict=True):
        assert a.dtype == b.dtype, name
        assert a.shape == b.shape, name
        assert a.tobytes() == b.tobytes(), name


def times(result: Rollout) -> list[float]:
    return result.observations[0, 0, :, 0].tolist()


def test_terminations_reset_and_the_last_step_is_a_cut():
    result = corridor(Sampling(8), length=3)
    assert times(result) == [0, 1, 2, 0, 1, 2, 0, 1]
    assert result.rewards[0, 0].tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    assert np.flatnonzero(result.terminated).tolist() == [2, 5]
    assert not result.truncated.any()
    assert result.boundaries.time.tolist() == [7]
    assert result.boundaries.observations[0, 0] == 2
    assert result.boundaries.continuation_rewards.shape == (1, 0)
    assert result.episodes.start.tolist() == [0, 3, 6]
    assert result.episodes.length.tolist() == [3, 3, 2]
    assert result.episodes.episode_return.tolist() == [6, 6, 3]
    assert result.episodes.finished.tolist() == [True, True, False]


def test_a_stream_that_ends_with_its_episode_has_no_boundary():
    result = corridor(Sampling(6, continuation_steps=4, finish_episodes=True), length=3)
    assert result.boundaries.time.size == 0
    assert result.boundaries.observations.shape == (0, 2)
    assert result.boundaries.continuation_rewards.shape == (0, 4)
    assert result.episodes.finished.all()


def test_a_time_limit_truncates_and_the_episode_goes_on_unscored():
    result = corridor(Sampling(10, continuation_steps=3), name="tiny_environments:TinyCorridor-v0")
    assert times(result) == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert np.flatnonzero(result.truncated).tolist() == [3, 7]
    assert not result.terminated.any()
    assert result.boundaries.time.tolist() == [3, 7, 9]
    assert result.boundaries.observations[:, 0].tolist() == [4, 4, 2]
    assert result.boundaries.continuation_rewards.tolist() == [[5, 6, 7], [5, 6, 7], [3, 4, 5]]
    assert result.boundaries.continuation_length.tolist() == [3, 3, 3]
    assert not result.boundaries.continuation_terminated.any()
    assert result.episodes.length.tolist() == [4, 4, 2]


def test_a_continuation_stops_at_a_termination():
    result = corridor(Sampling(4, continuation_steps=5), name="TinyCorridor-v0", length=6)
    assert result.boundaries.continuation_rewards.tolist() == [[5, 6, 0, 0, 0]]
    assert result.boundaries.continuation_length.tolist() == [2]
    assert result.boundaries.continuation_terminated.tolist() == [True]


def test_a_termination_on_the_last_step_before_the_limit_is_a_termination():
    result = corridor(Sampling(8, continuation_steps=2), name="TinyCorridor-v0", length=4)
    assert np.flatnonzero(result.terminated).tolist() == [3, 7]
    assert not result.truncated.any()
    assert result.boundaries.time.size == 0


def test_an_environment_that_truncates_by_itself_cannot_go_on():
    result = corridor(Sampling(7, continuation_steps=4, finish_episodes=True), length=3, truncates=True)
    assert np.flatnonzero(result.truncated).tolist() == [2, 5]
    assert result.boundaries.time.tolist() == [2, 5, 6]
    assert result.boundaries.observations[:, 0].tolist() == [3, 3, 1]
    assert result.boundaries.continuation_length.tolist() == [0, 0, 2]
    assert result.boundaries.continuation_rewards[2].tolist() == [2, 3, 0, 0]
    assert not result.boundaries.continuation_terminated.any()
    assert result.episodes.finished.all()


def test_a_time_limit_around_a_function_is_the_rollouts_to_apply():
    result = corridor(Sampling(4, continuation_steps=2), name="tiny_environments:limited_corridor", limit=3)
    assert np.flatnonzero(result.truncated).tolist() == [2]
    assert result.boundaries.continuation_rewards.tolist() == [[4, 5], [2, 3]]


@pytest.mark.parametrize("continuation", [0, 1, 9])
def test_episodes_are_finished_unscored(continuation):
    sampling = Sampling(5, continuation_steps=continuation, finish_episodes=True)
    result = corridor(sampling, name="TinyCorridor-v0", streams=(0, 1))
    assert result.rewards[0, 1].tolist() == [1, 2, 3, 4, 1]
    assert result.episodes.stream.tolist() == [0, 0, 1, 1]
    assert result.episodes.length.tolist() == [4, 4, 4, 4]
    assert result.episodes.episode_return.tolist() == [10, 10, 10, 10]
    assert result.episodes.return_beyond.tolist() == [0, 9, 0, 9]
    assert result.episodes.finished.all()
    assert result.boundaries.continuation_length.tolist() == [continuation] * 4


@pytest.mark.parametrize("continuation", [0, 3, 6, 9])
def test_an_episode_that_never_ends_is_given_up_and_counts_as_unfinished(continuation):
    sampling = Sampling(5, continuation_steps=continuation, finish_episodes=True, longest_finish=6)
    result = corridor(sampling, streams=(0, 1))
    assert result.episodes.length.tolist() == [11, 11]
    assert result.episodes.episode_return.tolist() == [66, 66]
    assert result.episodes.return_beyond.tolist() == [66 - 15] * 2
    assert not result.episodes.finished.any()
    assert result.boundaries.continuation_length.tolist() == [continuation] * 2


def test_an_episode_that_ends_in_time_is_finished():
    for length, finished in ((11, True), (12, False)):
        result = corridor(Sampling(5, finish_episodes=True, longest_finish=6), length=length)
        assert (result.episodes.length.tolist(), result.episodes.finished.tolist()) == ([11], [finished])


def test_an_episode_with_a_time_limit_is_finished_however_long_it_takes():
    sampling = Sampling(5, finish_episodes=True, longest_finish=1)
    result = corridor(sampling, name="tiny_environments:limited_corridor", limit=9)
    assert (result.episodes.length.tolist(), result.episodes.finished.tolist()) == ([9], [True])


def test_burn_in_is_unscored_and_drawn_for_each_stream():
    result = corridor(Sampling(4, burn_in=6, finish_episodes=True), range(40), length=5)
    drawn = [int(generator(0, "test", stream=s, kind="burn-in").integers(7)) for s in range(40)]
    assert result.observations[0, :, 0, 0].tolist() == [b % 5 for b in drawn]
    first = [result.episodes.start[result.episodes.stream == s][0] for s in range(40)]
    assert first == [-(b % 5) for b in drawn]
    assert result.episodes.length.tolist() == [5] * len(result.episodes.length)
    assert set(drawn) == set(range(7))


def test_resets_and_actions_follow_their_names():
    result = corridor(Sampling(100), streams=(7,), length=70)
    marks = [
        np.random.Generator(np.random.PCG64(derive_seed(0, "test", stream=7, episode=e, kind="reset"))).uniform()
        for e in (0, 1)
    ]
    assert (
        result.observations[0, 0, [0, 69, 70, 99], 1].tolist() == np.float32([marks[0]] * 2 + [marks[1]] * 2).tolist()
    )
    agent = gaussian_agent(2, 1)
    noise = [generator(0, "test", stream=7, episode=e, kind="action").standard_normal((70, 1)) for e in (0, 1)]
    means = agent.policy.distribution(agent.policy_parameters, torch.from_numpy(result.observations[0, 0])).mean
    expected = means.numpy() + np.exp(-0.5) * np.concatenate(noise)[:100]
    np.testing.assert_allclose(result.actions[0, 0], expected, atol=1e-5)


FULL = Sampling(150, burn_in=20, continuation_steps=9, finish_episodes=True)


def drift_agent(seed: int = 0, **fields: object) -> Agent:
    return with_moments(gaussian_agent(4, 2, seed=seed, action_transform="squash", **fields), np.ones(4), np.ones(4))


@pytest.mark.parametrize("lanes", [1, 8, 64])
def test_the_same_bytes_however_many_lanes(lanes):
    agents = Agent.stack([drift_agent(0), drift_agent(1)])
    spec = EnvironmentSpec("tiny_environments:Drift")
    expected = run(spec, agents, FULL, range(20), lanes=32)
    assert_same_bytes(run(spec, agents, FULL, range(20), lanes=lanes), expected)
    assert expected.terminated.sum() > 20


def test_the_same_bytes_whichever_streams_and_policies_run_beside():
    agents = Agent.stack([drift_agent(0), drift_agent(1), drift_agent(2)])
    together = run(DRIFT, agents, FULL, range(20), seeds=[5, 6, 7])
    alone = run(DRIFT, drift_agent(1), FULL, (17, 3), seeds=[6])
    for name in ("observations", "actions", "rewards", "terminated", "truncated"):
        assert getattr(alone, name)[0].tobytes() == getattr(together, name)[1, [17, 3]].tobytes(), name
    rows = (together.episodes.policy == 1) & (together.episodes.stream == 3)
    own = alone.episodes.stream == 1
    assert together.episodes.episode_return[rows].tolist() == alone.episodes.episode_return[own].tolist()
    at = (together.boundaries.policy == 1) & (together.boundaries.stream == 17)
    assert together.boundaries.continuation_rewards[at].tolist() == (
        alone.boundaries.continuation_rewards[alone.boundaries.stream == 0].tolist()
    )


def test_streams_at_one_place_of_the_tiles_share_what_lanes_there_are():
    sampling = Sampling(30)
    sparse = run(DRIFT, drift_agent(), sampling, [0, 16, 32, 48, 5], lanes=3)
    for at, stream in enumerate((0, 16, 32, 48, 5)):
        alone = run(DRIFT, drift_agent(), sampling, [stream])
        assert sparse.rewards[0, at].tobytes() == alone.rewards[0, 0].tobytes()


def test_discrete_actions_start_where_the_space_starts():
    result = run("tiny_environments:Chooser", categorical_agent(1, 3), Sampling(200))
    assert result.actions.dtype == np.int64
    assert result.actions.shape == (1, 1, 200)
    assert set(result.actions.ravel().tolist()) == {0, 1, 2}
    assert (result.rewards == result.actions + 5).all()


@pytest.mark.parametrize("transform", ["none", "clip", "squash"])
def test_actions_are_kept_as_drawn_and_transformed_on_their_way(transform):
    result = run(DRIFT, gaussian_agent(4, 2, action_transform=transform), Sampling(200))
    drawn = result.actions[..., 0]
    expected = {"none": drawn, "clip": np.clip(drawn, -2, 1), "squash": -2 + 1.5 * (np.tanh(drawn) + 1)}[transform]
    np.testing.assert_allclose(result.rewards, expected, rtol=1e-6, atol=1e-6)
    assert abs(drawn).max() > 1


def test_frozen_moments_standardise_and_clip():
    agent = with_moments(gaussian_agent(2, 1), np.array([1.0, 0.5]), np.array([0.01, 4.0]))
    result = run(CORRIDOR, agent, Sampling(5))
    assert result.observation_moments is None
    np.testing.assert_allclose(times(result), [-10, 0, 10, 10, 10], atol=1e-5)
    np.testing.assert_allclose(result.boundaries.observations[0, 0], 10)
    mark = generator_mark(stream=0)
    np.testing.assert_allclose(result.observations[0, 0, :, 1], (mark - 0.5) / (2 + 1e-8), rtol=1e-6)


def generator_mark(stream: int, episode: int = 0) -> float:
    seed = derive_seed(0, "test", stream=stream, episode=episode, kind="reset")
    return np.random.Generator(np.random.PCG64(seed)).uniform()


def test_moments_that_have_seen_nothing_leave_observations_alone():
    agent = with_moments(gaussian_agent(2, 1), np.zeros(2), np.zeros(2), count=0.0)
    assert times(run(CORRIDOR, agent, Sampling(5))) == [0, 1, 2, 3, 4]


def test_running_moments_take_in_resets_steps_and_last_observations_in_order():
    agent = with_moments(gaussian_agent(2, 1), np.zeros(2), np.zeros(2), count=0.0)
    spec = EnvironmentSpec(CORRIDOR, {"length": 3})
    result = run(spec, agent, Sampling(5), update_observations=True)
    pushed = np.array([0, 1, 2, 3, 0, 1, 2.0])
    seen = [pushed[: n + 1] for n in (0, 1, 2, 4, 5)]
    expected = [
        np.clip((x[-1] - x.mean()) / ((x.std(ddof=1) if len(x) > 1 else abs(x[0])) + 1e-8), -10, 10) for x in seen
    ]
    np.testing.assert_allclose(times(result), expected, atol=1e-6)
    assert result.observation_moments.count.tolist() == [7]
    np.testing.assert_allclose(result.observation_moments.mean[0, 0], pushed.mean())
    np.testing.assert_allclose(result.observation_moments.variance[0, 0], pushed.var(ddof=1))
    last = np.clip((2 - pushed.mean()) / (pushed.std(ddof=1) + 1e-8), -10, 10)
    np.testing.assert_allclose(result.boundaries.observations[0, 0], last, rtol=1e-6)


def test_running_moments_of_a_population_are_each_members_own():
    members = [with_moments(gaussian_agent(4, 2, seed=s), np.zeros(4), np.zeros(4), count=0.0) for s in range(3)]
    sampling = Sampling(60, finish_episodes=True)
    together = run(DRIFT, Agent.stack(members), sampling, range(4), update_observations=True)
    alone = run(DRIFT, members[1], sampling, range(4), seeds=[1], update_observations=True)
    assert together.observations[1].tobytes() == alone.observations[0].tobytes()
    assert together.observation_moments.squares[1].tobytes() == alone.observation_moments.squares[0].tobytes()
    n_pushed = 4 * 60 + 4 + int((together.terminated[1, :, :-1]).sum())
    assert together.observation_moments.count[1] == n_pushed


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ("Hoper-v5", {}, "unknown environment 'Hoper-v5'"),
        ("Hopper-v77", {}, "unknown environment"),
        ("not a name!", {}, "unknown environment"),
        ("nowhere:Thing-v0", {}, "cannot be imported"),
        ("tiny_environments:Nothing-v0", {}, "unknown environment"),
        (CORRIDOR, {"width": 3}, "cannot be built"),
        ("Hopper-v5", {"width_of_foot": 3}, "cannot be built"),
        ("Hopper-v5", {"healthy_z_range": [1]}, "cannot be used with the arguments"),
        ("Ant-v5", {"main_body": "tail"}, "cannot be used with the arguments"),
        ("tiny_environments:not_an_environment", {}, "not a gymnasium.Env"),
        ("tiny_environments:Chooser", {}, "takes observations of 2 numbers, tiny_environments:Chooser gives 1"),
    ],
)
def test_environments_that_cannot_be_used(environment, arguments, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        run(EnvironmentSpec(environment, arguments), gaussian_agent(2, 1), Sampling(4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "agent", "message"),
    [
        (CORRIDOR, categorical_agent(2, 3), "chooses discrete actions of size 3"),
        (CORRIDOR, gaussian_agent(2, 2), "chooses continuous actions of size 2"),
        ("tiny_environments:Chooser", gaussian_agent(1, 3), "takes discrete actions of size 3"),
        ("tiny_environments:Chooser", categorical_agent(1, 4), "chooses discrete actions of size 4"),
    ],
)
def test_policies_that_do_not_fit(environment, agent, message):
    with pytest.raises(InputError, match=message):
        run(environment, agent, Sampling(4))


@pytest.mark.parametrize(("name", "what"), [("Corridor", "reward"), ("BadSight", "observation")])
def test_a_number_that_is_not_finite_stops_the_rollout(name, what):
    spec = EnvironmentSpec(f"tiny_environments:{name}", {"bad_step": 3})
    with pytest.raises(NonFiniteError, match=rf"not every {what} is finite .*; look at stream 4, step 2$"):
        run(spec, gaussian_agent(2, 1), Sampling(8), (4,), seeds=[9])


def test_a_number_that_is_not_finite_is_placed_in_the_burn_in_and_beyond_the_stream():
    spec = EnvironmentSpec(CORRIDOR, {"bad_step": 3})
    burnt_in = next(s for s in range(99) if generator(0, "test", stream=s, kind="burn-in").integers(21) > 9)
    with pytest.raises(NonFiniteError, match=f"look at stream {burnt_in}, step 2 of an episode in the burn-in$"):
        run(spec, gaussian_agent(2, 1), Sampling(8, burn_in=20), (burnt_in,))
    with pytest.raises(NonFiniteError, match=r"look at stream 4, beyond step 1$"):
        run(spec, gaussian_agent(2, 1), Sampling(2, continuation_steps=3), (4,))


def test_a_policy_that_is_not_finite_stops_the_rollout():
    agent = gaussian_agent(2, 1)
    broken = agent.with_state({"policy": {"log_std": torch.tensor([float("nan")])}})
    with pytest.raises(NonFiniteError, match=r"not every action is finite .*policy 1"):
        run(CORRIDOR, Agent.stack([agent, broken]), Sampling(8))


@pytest.mark.parametrize(
    ("sampling", "options"),
    [
        (Sampling(0), {}),
        (Sampling(4, burn_in=-1), {}),
        (Sampling(4, longest_finish=0), {}),
        (Sampling(4), {"seeds": [1, 2]}),
        (Sampling(4), {"streams": []}),
        (Sampling(4), {"streams": [1, 1]}),
        (Sampling(4), {"lanes": 0}),
        (Sampling(4), {"streams": [1, 2], "lanes": 1, "update_observations": True}),
        (Sampling(4, burn_in=3), {"update_observations": True}),
    ],
)
def test_requests_that_contradict_themselves(sampling, options):
    with pytest.raises(InputError):
        run(CORRIDOR, gaussian_agent(2, 1), sampling, **options)
