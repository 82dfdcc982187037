"""Updates: what training would have done with the batch, and how updates are compared."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.policies import MLPValue
from closerlook.algorithms.batch import make_batch
from closerlook.algorithms.natural import NaturalSettings, natural_update
from closerlook.algorithms.ppo import PPOSettings, ppo_update
from closerlook.algorithms.rules import Rule, rule_of
from closerlook.algorithms.trpo import TRPOSettings, trpo_update
from closerlook.algorithms.vanilla import VanillaSettings, vanilla_update
from closerlook.diagnostics import summary
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.diagnostics.gradients.options import Options
from closerlook.diagnostics.gradients.updates import find_updates, plan_updates
from closerlook.errors import InputError
from closerlook.measurements.policy_updates import sample_batch, sample_steps, take_step
from closerlook.measurements.stream_sums import StreamRange
from closerlook.nn.networks import MLP, flatten
from closerlook.randomness import derive_seed
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout
from closerlook.statistics.true_gradients import Shares
from environments import linear_quadratic_agent

SMALL = PPOSettings(policy_epochs=2, value_epochs=2, minibatches=4, total_iterations=10)
RULES = {
    "ppo": (ppo_update, SMALL),
    "trpo": (trpo_update, TRPOSettings(max_kl=0.05, fisher_fraction=1.0, value_epochs=1)),
    "natural": (natural_update, NaturalSettings(max_kl=0.02, fisher_fraction=1.0, value_epochs=1)),
    "vanilla": (vanilla_update, VanillaSettings(optimizer="sgd", value_epochs=1)),
}


def trained(name: str = "ppo", iteration: int = 3, *, critic: bool = True) -> Agent:
    """An agent in the middle of its training, with Adam's moments after some updates."""
    value = MLPValue(MLP((3, 8, 1)))
    bare = linear_quadratic_agent(
        gamma=0.95, regime=Regime(2, 16), normalize_advantages=True, algorithm=name, iteration=iteration,
        algorithm_settings=asdict(RULES[name][1]),
    )  # fmt: skip
    state = {"value": value.initialize(np.random.default_rng(9), "xavier")}
    agent = replace(bare.with_state(state), value=value) if critic else bare
    agents = Agent.stack([agent])
    part = StreamRange(0, "before", 0, 4)
    for update in range(iteration):
        batch = sample_batch(agents, agent.environment, Sampling(16), part)
        agents, _ = RULES[name][0](agents, batch, RULES[name][1], seeds=[7], iteration=update)
    return agents.unstack()[0]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("critic", [True, False])
def test_a_measured_update_is_the_update_of_training(name, critic):
    agent = trained(name, critic=critic)
    agents, rule = Agent.stack([agent]), rule_of(agent)
    assert (rule.algorithm, rule.settings, rule.iteration) == (name, RULES[name][1], 3)
    assert not rule.fresh_optimizer
    sampled = rollout(agents, agent.environment, Sampling(16), seeds=[5], purpose="steps", streams=[2, 3])
    batch = make_batch(agents, sampled, sampled.rewards)
    updated, info = RULES[name][0](agents, batch, rule.settings, seeds=[8], iteration=3)
    names = list(agent.policy.parameter_shapes)
    expected = flatten(updated.policy_parameters, names, stacked=True) - flatten(
        agents.policy_parameters, names, stacked=True
    )
    own = sample_batch(agents, agent.environment, Sampling(16), StreamRange(5, "steps", 2, 4))
    step = take_step(agents, own, rule, 8)
    np.testing.assert_allclose(step.displacement, expected[0].numpy(), atol=1e-7)
    assert np.abs(step.displacement).max() > 1e-4
    assert step.info.mean_kl == info.mean_kl


def test_the_optimizers_memory_and_the_schedule_count():
    agent = trained()
    agents = Agent.stack([agent])
    batch = sample_batch(agents, agent.environment, Sampling(16), StreamRange(5, "steps", 0, 2))
    rule = rule_of(agent)
    own = take_step(agents, batch, rule, 0).displacement
    forgetful = replace(agent, state={k: v for k, v in agent.state.items() if not k.startswith("optimizer")})
    assert rule_of(forgetful).fresh_optimizer
    fresh = take_step(Agent.stack([forgetful]), batch, rule, 0).displacement
    assert np.abs(own - fresh).max() > 1e-4
    earlier = take_step(agents, batch, replace(rule, iteration=0), 0).displacement
    assert np.linalg.norm(earlier) > 1.2 * np.linalg.norm(own)


def test_after_the_last_update_the_last_one_is_meant():
    agent = trained()
    assert rule_of(replace(agent, iteration=10)).iteration == 9
    assert rule_of(replace(agent, iteration=9)).iteration == 9
    assert rule_of(replace(agent, iteration=0)).iteration == 0
    assert rule_of(replace(agent, iteration=None)).iteration == 0
    flat = replace(agent, iteration=12, algorithm_settings=asdict(replace(SMALL, anneal=False)))
    assert rule_of(flat).iteration == 12


def test_whose_update_is_taken():
    agent = trained()
    assert rule_of(agent, "trpo") == Rule("trpo", TRPOSettings(), 0, fresh_optimizer=False)
    assert rule_of(replace(agent, algorithm=None)) == Rule("ppo", PPOSettings(), 0, fresh_optimizer=True)
    with pytest.raises(InputError, match="no algorithm 'dqn'"):
        rule_of(agent, "dqn")
    with pytest.raises(InputError, match="hold 'n_epochs'"):
        rule_of(replace(agent, algorithm_settings={"n_epochs": 3}))


@pytest.mark.parametrize(("own", "asked"), [("ppo", "vanilla"), ("trpo", "ppo"), ("vanilla", "ppo")])
def test_the_update_of_another_algorithm_is_its_first(own, asked):
    """The memory and the place in the schedule are of the agent's own algorithm: another one has neither."""
    agent = replace(trained("ppo"), algorithm=own)  # with the moments that PPO left
    rule = rule_of(agent, asked)
    assert (rule.iteration, rule.fresh_optimizer) == (0, True)
    agents = Agent.stack([agent])
    batch = sample_batch(agents, agent.environment, Sampling(16), StreamRange(5, "steps", 0, 2))
    state = {name: tensor for name, tensor in agents.state.items() if not name.startswith("optimizer")}
    blank = replace(agents, state=state, iteration=0)
    expected = take_step(blank, batch, rule_of(replace(agent, state={}, iteration=0), asked), 0).displacement
    assert take_step(agents, batch, rule, 0).displacement.tobytes() == expected.tobytes()
    remembering = take_step(agents, batch, replace(rule, fresh_optimizer=False), 0).displacement
    assert np.abs(remembering - expected).max() > 1e-5


@pytest.mark.parametrize("name", RULES)
def test_a_beginning_of_a_batch_gives_the_step_of_a_batch_of_that_size(name):
    agent = trained(name)
    part, rule = StreamRange(4, "steps", 6, 10), rule_of(agent)
    answer = sample_steps(agent, agent.environment, Sampling(16), part, (5, 16, 48, 64), rule)
    agents, seed = Agent.stack([agent]), derive_seed(4, "steps", stream=6)
    for place, (steps, stop) in enumerate(((5, 7), (16, 7), (16, 9), (16, 10))):
        batch = sample_batch(agents, agent.environment, Sampling(steps), replace(part, stop=stop))
        assert batch.advantages.numel() == (5, 16, 48, 64)[place]
        expected = take_step(agents, batch, rule, seed)
        assert answer["displacement"][place].tobytes() == expected.displacement.astype(np.float32).tobytes()
        assert answer["mean_kl"][place] == expected.info.mean_kl[0]


def test_steps_are_measured_with_the_gradients_and_do_not_depend_on_workers():
    asked = {"pairs": 16 * 40, "estimates": 5, "sizes": [5, 16, 32], "update_sizes": [8, 32, 70], "seed": 3}
    agents = [trained(), trained("ppo", 1)]
    one = gradient_quality(agents, **asked, workers=1)
    two = gradient_quality(agents, **asked, workers=2)
    assert one.identical(two)
    assert one["update_size"].values.tolist() == [8, 32, 64]
    assert one["update_pairwise_cosine"].shape == (2, 3)
    assert one.attrs["step_algorithm"] == "ppo"
    assert not one["fresh_optimizer"].any()
    assert np.isfinite(one["update_true_cosine_corrected_low"]).any()
    told = summary(one)["updates"]
    assert told["sizes"] == [8, 32, 64]
    assert np.shape(told["pairwise_cosine_high"]) == (2, 3)
    alone = gradient_quality(agents, **(asked | {"update_sizes": None}), workers=1)
    assert "update_pairwise_cosine" not in alone
    assert one["pairwise_cosine"].identical(alone["pairwise_cosine"])


def test_steps_are_compared_with_one_another_and_with_the_gradient():
    """Steps along the gradient and across it, known by hand; one did not move."""
    steps = np.array([[[1.0, 0.0]], [[0.0, 2.0]], [[3.0, 3.0]], [[0.0, 0.0]]], np.float32)
    answers = [{"displacement": step, "mean_kl": np.array([kl])} for step, kl in zip(steps, (1, 2, 3, 0), strict=True)]
    blocks = np.array([[4.0, 0.1], [4.0, -0.1], [4.0, 0.0]])
    gradient = Shares(np.zeros((0, 2)), np.zeros(0), blocks.sum(0), 12.0, float(np.square(blocks).sum()), 48.0)
    found = find_updates(answers, gradient, (blocks, np.full(3, 4.0)), fresh_optimizer=True)
    half = np.sqrt(0.5)
    assert found["update_pairwise_cosine"][0] == pytest.approx((0 + half + half) / 3)
    length = np.sqrt((6 * 16 - 2 * 0.01) / (144 - 48))  # products of different blocks only
    assert found["update_true_cosine_corrected"][0] == pytest.approx((1 + 0 + half) / 3 * (1.0 / length))
    assert found["update_true_cosine"][0] == pytest.approx((1 + 0 + half) / 3)
    assert found["update_true_cosine_corrected_low"][0] == -1  # three steps tell little
    assert found["zero_updates_by_size"].tolist() == [1]
    assert found["update_mean_kl"].tolist() == [1.5]
    assert found["mean_update_norm"][0] == pytest.approx((1 + 2 + np.sqrt(18) + 0) / 4)
    assert bool(found["fresh_optimizer"])


def test_sizes_of_steps():
    regime = Regime(2, 16)
    assert plan_updates(regime, 2100, 10, None, None).sizes == (32, 128, 512, 2048)
    assert plan_updates(regime, 10, 10, None, None).sizes == (32,)
    plan = plan_updates(regime, 10, 10, [7, 40, 33], None)
    assert (plan.sizes, plan.streams) == ((7, 32), 2)
    for sizes in ([1], [10**9]):
        with pytest.raises(InputError, match="update-sizes must be from 2 to 2,000,000"):
            Options(update_sizes=sizes).checked()


def test_a_line_search_that_accepts_nothing_leaves_no_direction():
    agent = trained("trpo")
    hopeless = asdict(replace(RULES["trpo"][1], accept_ratio=1e9))
    stuck = replace(agent, algorithm_settings=hopeless)
    found = gradient_quality(stuck, pairs=16 * 40, estimates=5, sizes=[16], update_sizes=[32], workers=1)
    assert found["zero_updates_by_size"].values.tolist() == [5]
    assert np.isnan(found["update_pairwise_cosine"]).all()
    assert torch.isfinite(torch.tensor(float(found["mean_update_norm"][0])))
