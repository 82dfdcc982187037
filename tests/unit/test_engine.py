"""Engines are lent: kept from one rollout to the next, closed after an error, never lent twice at once."""

import gymnasium
import numpy as np
import pytest

from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import InputError
from closerlook.simulation import engine as engines
from closerlook.simulation.engine import LANES, describe_environment, lanes_at_once, lend_engine, make_engine
from closerlook.simulation.gymnasium_engine import GymnasiumEngine
from closerlook.simulation.mujoco_engine import MujocoEngine

HOPPER = EnvironmentSpec("Hopper-v5")


@pytest.fixture(autouse=True)
def _nothing_kept():
    engines._kept.clear()
    yield
    engines._kept.clear()


@pytest.mark.parametrize("choice", ["fastest", "gymnasium"])
def test_an_engine_given_back_is_lent_again(choice):
    with lend_engine(HOPPER, 2, choice) as first:
        pass
    with lend_engine(HOPPER, 2, choice) as second:
        assert second is first
        with lend_engine(HOPPER, 2, choice) as other:
            assert other is not first


@pytest.mark.parametrize("choice", ["fastest", "gymnasium"])
@pytest.mark.parametrize("task", ["Hopper", "Walker2d", "Humanoid", "HalfCheetah", "Ant", "Swimmer"])
def test_a_reset_leaves_nothing_of_the_episode_before(task, choice):
    engine = make_engine(EnvironmentSpec(f"{task}-v5"), 1, choice)
    fresh = _episode(engine, seed=0)
    assert _episode(engine, seed=1) != fresh
    assert _episode(engine, seed=0) == fresh


def _episode(engine, seed, steps=60):
    """Return the bytes of an episode: long enough for a fall and its contacts."""
    lane, actions = np.zeros(1, np.int64), np.random.default_rng(seed).standard_normal((steps, 1, 32))
    answers = [engine.reset(lane, [seed]).tobytes()]
    for action in actions[..., : engine.action_space.shape[0]].astype(np.float32):
        result = engine.step(lane, action)
        answers += [result.observations.tobytes(), result.rewards.tobytes(), result.terminated.tobytes()]
    return answers


def test_another_size_or_choice_is_another_engine():
    with lend_engine(HOPPER, 2) as fast:
        assert isinstance(fast, MujocoEngine)
    with lend_engine(HOPPER, 2, "gymnasium") as plain:
        assert isinstance(plain, GymnasiumEngine)
    with lend_engine(HOPPER, 3) as larger:
        assert larger is not fast


def test_after_an_error_an_engine_is_not_kept():
    with pytest.raises(RuntimeError), lend_engine(HOPPER, 1) as broken:
        raise RuntimeError
    with lend_engine(HOPPER, 1) as fresh:
        assert fresh is not broken


def test_few_engines_are_kept():
    for lanes in (1, 2, 3, 4):
        with lend_engine(HOPPER, lanes):
            pass
    assert len(engines._kept) == 2


def test_an_environment_of_somebody_s_is_built_anew():
    with lend_engine(EnvironmentSpec("CartPole-v1"), 1) as first:
        pass
    with lend_engine(EnvironmentSpec("CartPole-v1"), 1) as second:
        assert second is not first


def test_a_file_may_not_name_code():
    for name in ("subprocess:getoutput", "tiny_environments:Corridor"):
        with pytest.raises(InputError, match="would run code"):
            make_engine(EnvironmentSpec(name, trusted=False), 1)
    make_engine(EnvironmentSpec("Hopper-v5", trusted=False), 1).close()


def test_registered_arguments_are_part_of_the_description():
    sources = set()
    for gravity in (9.8, 3.7):
        maker = {"entry_point": "gymnasium.envs.classic_control:PendulumEnv", "kwargs": {"g": gravity}}
        gymnasium.register("Registered-v0", **maker)
        sources.add(describe_environment(EnvironmentSpec("Registered-v0"))["source"])
        del gymnasium.registry["Registered-v0"]
    assert len(sources) == 2


def test_environments_with_simulators_of_their_own_step_fewer_together():
    hopper = EnvironmentSpec("Hopper-v5")
    assert lanes_at_once(hopper) == lanes_at_once(EnvironmentSpec("CartPole-v1")) == LANES
    assert lanes_at_once(hopper, "gymnasium") < LANES
    assert lanes_at_once(EnvironmentSpec("Pusher-v5")) < LANES
    assert lanes_at_once(EnvironmentSpec("environments:make_bandit", trusted=True)) == LANES


def test_a_time_limit_is_lifted_wherever_among_the_wrappers_it_is():
    engine = GymnasiumEngine(EnvironmentSpec("tiny_environments:clipped_after_the_limit"), 1)
    assert engine.time_limit == 7
    lane = np.zeros(1, np.int64)
    engine.reset(lane, [0])
    ends = [engine.step(lane, np.full((1, 1), 5.0, np.float32)).truncated[0] for _ in range(12)]
    assert not any(ends)
    engine.close()


@pytest.mark.parametrize(("name", "what"), [("Blind", "observations of"), ("Helpless", "actions of")])
def test_spaces_without_components_are_refused(name, what):
    with pytest.raises(InputError, match=f"{what} environment 'tiny_environments:{name}' have no components"):
        GymnasiumEngine(EnvironmentSpec(f"tiny_environments:{name}"), 1)


def test_a_limit_that_counts_other_steps_stays():
    engine = GymnasiumEngine(EnvironmentSpec("tiny_environments:repeated_within_a_limit"), 1)
    assert engine.time_limit is None
    lane = np.zeros(1, np.int64)
    engine.reset(lane, [0])
    ends = [engine.step(lane, np.zeros((1, 1), np.float32)).truncated[0] for _ in range(4)]
    assert ends == [False, False, False, True]
    engine.close()
