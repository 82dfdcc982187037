"""Agents with little to follow: rewards that are all the same, next to no noise, networks that are not ours."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from test_episode_returns import torch_agent

import closerlook as cl
from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.policies import CategoricalMLP, MLPValue
from closerlook.diagnostics import summary
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.diagnostics.values import value_prediction
from closerlook.diagnostics.values.tables import tables_of
from closerlook.errors import InputError
from closerlook.nn.networks import MLP
from closerlook.randomness import generator
from environments import bandit_agent, linear_quadratic_agent
from small_agents import gaussian_agent
from small_measurements import ASKED, TOLD

ESTIMATES = {"pairs": 160, "estimates": 10, "sizes": [16], "workers": 1}
VALUES = {"pairs": 1024, "updates": 0, "restarts": 0, "sizes": [32], "lambdas": [1], "workers": 1}
QUADRATIC = EnvironmentSpec("environments:make_linear_quadratic")


def with_critic(agent: Agent, inputs: int) -> Agent:
    value = MLPValue(MLP((inputs, 4, 1)))
    drawn = value.initialize(generator(1, "test"), "xavier")
    return replace(agent.with_state({"value": drawn}), value=value)


def paid_by_the_step(**fields) -> Agent:
    """An agent of CartPole, where every reward is 1."""
    policy = CategoricalMLP(MLP((4, 8, 2)))
    parameters = policy.initialize(generator(0, "test"), "xavier")
    where = {"environment": EnvironmentSpec("CartPole-v1"), "regime": Regime(1, 16)}
    return Agent(policy, None, {f"policy.{name}": x for name, x in parameters.items()}, **where, **fields)


def test_what_the_page_on_gradients_says_of_gradients_that_are_exactly_zero():
    """Rewards of zero without a critic; not equal rewards, as returns end; not with a critic, whose errors are left."""
    where = "environments:make_indifferent"
    unpaid = gradient_quality(bandit_agent(regime=Regime(1, 16), normalize_advantages=True), where, **ESTIMATES)
    assert int(unpaid["zero_gradients"][0]) == 10
    equal = gradient_quality(paid_by_the_step(), **ESTIMATES)
    assert int(equal["zero_gradients"][0]) == 0
    critic = with_critic(bandit_agent(regime=Regime(1, 16), normalize_advantages=True), 4)
    followed = gradient_quality(critic, where, **ESTIMATES)
    assert int(followed["zero_gradients"][0]) == 0
    assert float(followed["gradient_norm"][0]) > 0.1  # of advantages that are all errors of the critic, standardized


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("log_std", [-7.0, -20.0])
def test_a_policy_that_is_nearly_deterministic_leaks_no_warning(name, log_std):
    """Standard deviations of 9e-4 and 2e-9; where the latter's update ends nowhere, a line says so."""
    fields = {"regime": Regime(2, 64), "normalize_advantages": True, "algorithm": "ppo", "gamma": 0.9}
    sharp = with_critic(linear_quadratic_agent(**fields), 3)
    sharp = sharp.with_state({"policy": {"log_std": torch.full((2,), log_std)}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if name in ("landscape", "value_prediction") and log_std == -20.0:
            with pytest.raises(InputError, match=r"almost deterministic|not finite after the update"):
                getattr(cl, name)(sharp, workers=1, **ASKED[name])
            return
        found = getattr(cl, name)(sharp, workers=1, **ASKED[name])
        told = summary(found)
    assert log_std == -20.0 or np.isfinite(found[TOLD[name]].values).all()
    assert "NaN" not in json.dumps(told)


def test_returns_in_place_of_advantages_are_standardized_in_gradients_and_have_two_names_in_values():
    agent = linear_quadratic_agent(regime=Regime(1, 32), normalize_advantages=True, gamma=0.9)
    found = gradient_quality(agent, baselines=["returns"], **ESTIMATES | {"sizes": [32], "pairs": 512})
    # without a critic, returns in place of advantages are what the agent itself follows
    other = found["alternative_pairwise_cosine"].sel(alternative="returns")
    assert other.values.tolist() == found["pairwise_cosine"].values.tolist()
    values = value_prediction(agent, fit_pairs=0, **VALUES)
    raw, standardized = (values["baseline_pairwise_cosine"].sel(baseline=name) for name in ("zero", "mean"))
    for own, cosine, other in (("normalized", standardized, raw), ("raw", raw, standardized)):
        kept = gradient_quality(agent, advantages=own, **ESTIMATES | {"pairs": 1024, "sizes": [32]})
        low, high = float(kept["pairwise_cosine_low"][0]), float(kept["pairwise_cosine_high"][0])
        assert low < float(cosine[0]) < high
        assert not low < float(other[0]) < high


def test_no_baseline_of_least_variance_is_said_to_be_missing():
    """Squared scores of torch modules take a gradient of every pair: no fit; that is said below the table."""
    regime, console = Regime(1, 32), Console(record=True, width=120)
    ours = replace(gaussian_agent(3, 2, regime=regime), environment=QUADRATIC)
    theirs = torch_agent("Normal", regime=regime, environment=QUADRATIC)
    for agent, said in ((ours, False), (theirs, True)):
        found = value_prediction(agent, fit_pairs=1024, **VALUES)
        missing = bool(found["variance_ratio"].sel(baseline="optimal").isnull())
        assert np.isfinite(found["variance_ratio"].sel(baseline="fitted"))
        for table in tables_of(found):
            console.print(table)
        words = " ".join(console.export_text().split())
        assert missing == said == ("none of torch modules" in words)
        assert (summary(found)["baselines"]["optimal"]["variance_ratio"] is None) == said
