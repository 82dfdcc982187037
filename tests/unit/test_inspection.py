"""The identity of an agent: what it earns, sees and expects, against what was recorded in training."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.normalization import Scaling
from closerlook.agents.origin import Origin, Recorded
from closerlook.agents.policies import GaussianMLP, MLPValue
from closerlook.errors import InputError
from closerlook.inspection import inspect
from closerlook.inspection.evidence import interval, recent
from closerlook.inspection.inspect import Limits
from closerlook.nn.networks import MLP

MEAN, STD, STEPS = 100.0, 10.0, 20
ENVIRONMENT = EnvironmentSpec("test_inspection:make_shifted")
COUNT = 10_000.0


class Shifted(gymnasium.Env[Any, Any]):
    """Rewards actions near the standardized observation, of 20 steps."""

    def __init__(self, less: float = 0.0) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
        self.action_space = gymnasium.spaces.Box(-2.0, 2.0, (1,))
        self._less = less

    def _observe(self) -> np.ndarray:
        self._standard = self.np_random.standard_normal(1)
        return (MEAN + STD * self._standard).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._updates = 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = 1.0 - min(2.0, float(np.abs(action - self._standard).sum())) - self._less
        self._updates += 1
        return self._observe(), reward, self._updates == STEPS, False, {}


class Spiky(Shifted):
    """Every fourth observation is far off, and what is to be done there is that of 10 deviations."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gymnasium.spaces.Box(-100.0, 100.0, (1,))

    def _observe(self) -> np.ndarray:
        drawn = self.np_random.standard_normal(1)
        seen = drawn + 30.0 * (self._updates % 4 == 1)
        self._standard = np.clip(seen, -10.0, 10.0)
        return (MEAN + STD * seen).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self._updates = 0
        return super().reset(seed=seed)


def make_spiky() -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TimeLimit(Spiky(), STEPS)


def make_shifted(less: float = 0.0) -> gymnasium.Env[Any, Any]:
    return gymnasium.wrappers.TimeLimit(Shifted(less), STEPS)


def an_agent(*, deviation: float = 0.05, value: float = 9.0, **fields: Any) -> Agent:
    """One that acts on the standardized observation, and expects `value` everywhere."""
    state = {
        "policy.0.weight": torch.ones(1, 1),
        "policy.0.bias": torch.zeros(1),
        "policy.log_std": torch.full((1,), float(np.log(deviation))),
        "value.0.weight": torch.zeros(1, 1),
        "value.0.bias": torch.full((1,), value),
        "observations.count": torch.tensor(COUNT, dtype=torch.float64),
        "observations.mean": torch.full((1,), MEAN, dtype=torch.float64),
        "observations.squares": torch.full((1,), STD**2 * (COUNT - 1), dtype=torch.float64),
    }
    agent = Agent(
        GaussianMLP(MLP((1, 1))),
        MLPValue(MLP((1, 1))),
        state,
        gamma=0.99,
        observation_scaling=Scaling(clip=10.0),
        action_transform="clip",
        regime=Regime(1, 64, reset_each_iteration=False),
        environment=ENVIRONMENT,
        origin=Origin("test", steps=int(COUNT), observations_seen=COUNT, recorded=(record(18.9),)),
    )
    return replace(agent, **fields)


def record(mean: float, acting: Any = "sampled", spread: float = 1.0) -> Recorded:
    values = mean + spread * np.tile([-1.0, 1.0], 25)
    return Recorded(tuple(values.tolist()), acting, "the test")


def with_origin(agent: Agent, **fields: Any) -> Agent:
    assert agent.origin is not None
    return replace(agent, origin=replace(agent.origin, **fields))


def look(agent: Agent, **options: Any) -> Any:
    return inspect(agent, episodes=8, **options)


def test_an_agent_that_earns_what_was_recorded_is_the_same():
    found = look(an_agent())
    assert found.identity == "same"
    assert found.sampled_return.value == pytest.approx(19.1, abs=0.5)
    assert found.random_return < 5
    assert found.sight.mean == pytest.approx(0.0, abs=0.1)
    assert found.sight.spread == pytest.approx(1.0, abs=0.1)
    assert found.expectation.value.value == pytest.approx(9.0)
    assert found.to_json()["identity"] == "same"


def test_dropped_statistics_are_seen():
    found = look(an_agent(observation_scaling=None))
    assert found.identity == "unlike"
    assert "drawn actions earn" in found.reasons[-1]


def test_statistics_of_another_run_are_seen():
    agent = an_agent()
    other = {**agent.state, "observations.mean": torch.full((1,), 140.0, dtype=torch.float64)}
    found = look(replace(agent, state=other))
    assert found.identity == "unlike"
    assert "deviations off" in found.reasons[0]
    narrow = {**agent.state, "observations.squares": torch.full((1,), 0.01 * COUNT, dtype=torch.float64)}
    assert "at their bounds" in look(replace(agent, state=narrow)).reasons[0]


def test_statistics_that_are_too_old_are_seen():
    found = look(with_origin(an_agent(), observations_seen=COUNT / 10))
    assert found.identity == "unknown"
    assert "another time" in found.reasons[0]


def test_a_clip_that_is_missing_is_seen():
    spiky = EnvironmentSpec("test_inspection:make_spiky")
    agent = an_agent(environment=spiky, gamma=1.0)
    assert agent.observation_scaling is not None
    scalings = [replace(agent.observation_scaling, clip=clip) for clip in (10.0, None)]
    limits = Limits(clipped=0.5)  # a quarter is at a bound, as in training
    found = [look(replace(agent, observation_scaling=scaling), limits=limits) for scaling in scalings]
    assert [one.sampled_return.value > 18 for one in found] == [True, False]
    assert found[0].identity == "same"
    assert found[1].identity == "unlike"
    assert "drawn actions earn" in found[1].reasons[-1]


def test_a_wrong_gamma_is_seen():
    found = look(an_agent(gamma=0.1))
    assert found.identity == "unlike"
    assert "gamma (0.1)" in found.reasons[0]


def test_another_environment_is_seen():
    worse = replace(ENVIRONMENT, arguments={"less": 0.5})
    assert look(an_agent(), environment=worse).identity == "unlike"


def test_a_record_of_likeliest_actions_told_as_drawn_ones_is_seen():
    noisy = an_agent(deviation=1.0)
    found = look(with_origin(noisy, recorded=(record(20.0, spread=0.1),)))
    assert found.identity == "unknown"
    assert "likeliest" in found.reasons[-1]
    assert look(with_origin(noisy, recorded=(record(20.0, "mode", 0.1),))).identity == "same"


def test_what_is_missing_or_not_recorded_leaves_it_unknown():
    assert look(with_origin(an_agent(), missing={"normalize": "give it"})).identity == "unknown"
    assert look(with_origin(an_agent(), recorded=())).identity == "unknown"
    assert look(replace(an_agent(), origin=None)).identity == "unknown"


def test_an_agent_that_was_still_learning_is_judged_by_its_evaluation():
    records = (record(8.0), record(20.0, "mode", 0.1))
    assert look(with_origin(an_agent(), recorded=records)).identity == "same"
    assert look(with_origin(an_agent(), recorded=records[:1])).identity == "unlike"


def test_results_depend_on_the_seed_alone():
    first, again, other = look(an_agent(), seed=3), look(an_agent(), seed=3), look(an_agent(), seed=4)
    assert first.to_json() == again.to_json()
    assert first.sampled_return != other.sampled_return


def test_a_record_is_shortened_to_its_last_level():
    rising = np.concatenate([np.linspace(0, 50, 50), np.full(50, 100.0) + np.tile([-1, 1], 25)])
    assert recent(rising).min() >= 99
    level = np.tile([1.0, 3.0], 50)
    assert len(recent(level)) == 100
    assert len(recent(np.ones(100))) == 100


def test_intervals_cover():
    rng = np.random.default_rng(0)
    found = [interval(rng.standard_normal(8)) for _ in range(2000)]
    assert np.mean([one.low <= 0 <= one.high for one in found]) == pytest.approx(0.95, abs=0.015)
    assert interval([2.0], 0.5).high == pytest.approx(2.98)
    assert np.isnan(interval([2.0]).low)


def test_what_cannot_be_inspected_is_refused():
    with pytest.raises(InputError, match="episodes must be at least 2"):
        inspect(an_agent(), episodes=1)
    with pytest.raises(InputError, match="does not say"):
        inspect(an_agent(environment=None))
