"""The audit of critics during training: the same agents, and numbers that a slow twin gives too."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from closerlook.agents.agent import Agent
from closerlook.algorithms.ppo import PPOSettings
from closerlook.monitor.critic_audit import AUDITED, PURPOSE, CriticAudit, audit_critics
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout
from closerlook.statistics.value_errors import near_zero
from closerlook.training import TrainSettings, train
from closerlook.training.segment import gather, improve
from closerlook.training.settings import agent_seed, initial_agents

GAMMA = 0.9
CLIP = 0.05
TINY = TrainSettings(
    environment="training_environments:make_target",
    seeds=3,
    steps=3 * 64,
    n_steps=64,
    hidden=(8, 8),
    gamma=GAMMA,
    checkpoints=(0, 3),
    ppo=PPOSettings(policy_epochs=2, value_epochs=2, minibatches=4),
)


def test_training_is_the_same_with_an_audit(tmp_path):
    plain = train(TINY, out=tmp_path / "plain", workers=1)
    audited = train(TINY, callbacks=[CriticAudit()], out=tmp_path / "audited", workers=1)
    for path in sorted((tmp_path / "plain").glob("checkpoints/*/*/*.safetensors")):
        other = tmp_path / "audited" / path.relative_to(tmp_path / "plain")
        assert path.read_bytes() == other.read_bytes()
    for name in AUDITED:
        assert name not in plain.log
        assert np.isfinite(audited.log[name]).all()
    written = pd.read_csv(tmp_path / "audited" / "training.csv")
    np.testing.assert_array_equal(written["audit_gae_mre_train"], audited.log["audit_gae_mre_train"])


def relative(values, targets) -> float:
    return float(np.mean(np.abs(values - targets) / np.maximum(np.abs(targets), near_zero(targets))))


def deviation(agent) -> float:
    """Of the running discounted return, by which rewards are divided."""
    return float(np.sqrt(float(agent.state["returns.squares"][0]) / (float(agent.state["returns.count"]) - 1) + 1e-8))


def test_the_numbers_are_those_of_a_slow_twin():
    ppo = replace(TINY.ppo, value_clip=CLIP, value_learning_rate=0.01)
    settings = replace(TINY, ppo=ppo).resolved()
    seeds = [agent_seed(settings, number) for number in range(3)]
    agents = Agent.stack(initial_agents(settings, range(3)))
    before, batch, _, rolled = gather(agents, settings, seeds, 0)
    after, _ = improve(before, batch, settings, seeds, 0)
    found = audit_critics(before, after, batch, rolled, settings, seeds)
    number = 1
    (_, old, _), (_, new, _) = (list(agents.unstack()) for agents in (before, after))  # noqa: PD010
    targets = batch.gae_targets[number, 0].numpy()
    values = new.value(new.value_parameters, batch.observations[number, 0]).detach().numpy()
    assert found["audit_gae_mre_train"][number] == pytest.approx(relative(values, targets), rel=1e-4)
    assert found["audit_bootstrapped_returns_mre_train"][number] == pytest.approx(
        relative(values, batch.returns[number, 0].numpy()), rel=1e-4
    )
    # returns of the batch that stop with zero at every end, in the agent's units
    scaled = np.clip(rolled.rewards[number, 0] / deviation(old), -10, 10)
    short, following = np.zeros(64), 0.0
    for t in range(63, -1, -1):
        over = t == 63 or rolled.truncated[number, 0, t] or rolled.terminated[number, 0, t]
        following = scaled[t] + (0.0 if over else GAMMA * following)
        short[t] = following
    assert found["audit_cut_off_returns_mre_train"][number] == pytest.approx(relative(values, short), rel=1e-4)
    olds = old.value(old.value_parameters, batch.observations[number, 0]).detach().numpy()
    held = olds + np.clip(values - olds, -CLIP, CLIP)
    worst = np.maximum((values - targets) ** 2, (held - targets) ** 2)
    released = float(np.mean(worst / np.maximum(np.abs(targets), near_zero(targets))))
    assert found["audit_gae_as_released_train"][number] == pytest.approx(released, rel=1e-4)
    assert np.abs(values - olds).max() > CLIP  # so that the bound counts
    asked = Sampling(64, continuation_steps=44)
    alone = rollout(
        Agent.stack([old]), settings.spec, asked, seeds=[seeds[number]], purpose=PURPOSE, streams=[0], lanes=1
    )
    scale = deviation(old)
    rewards = np.clip(alone.rewards[0, 0] / scale, -10, 10)
    further = np.clip(alone.boundaries.continuation_rewards / scale, -10, 10)
    returns, cut = np.zeros(64), np.zeros(64)
    following, short, at = 0.0, 0.0, len(further) - 1
    for t in range(63, -1, -1):
        if t == 63 or alone.truncated[0, 0, t] or alone.terminated[0, 0, t]:
            following = short = 0.0
            if at >= 0 and alone.boundaries.time[at] == t:
                following = float(further[at] @ GAMMA ** np.arange(44))
                at -= 1
        following, short = rewards[t] + GAMMA * following, rewards[t] + GAMMA * short
        returns[t], cut[t] = following, short
    values = new.value(new.value_parameters, torch.from_numpy(alone.observations[0, 0])).detach().numpy()
    assert found["audit_returns_mre_heldout"][number] == pytest.approx(relative(values, returns), rel=1e-3)
    assert found["audit_cut_off_returns_mre_heldout"][number] == pytest.approx(relative(values, cut), rel=1e-3)
    assert found["audit_explained_variance_returns_heldout"][number] == pytest.approx(
        1 - np.var(returns - values) / np.var(returns), abs=1e-3
    )
