"""The audit of updates during training: the same agents, and numbers that a slow twin gives too."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from closerlook.agents.agent import Agent
from closerlook.algorithms.ppo import PPOSettings
from closerlook.monitor.trust_audit import TRUST_AUDITED, TrustRegionAudit, audit_updates
from closerlook.training import TrainSettings, train
from closerlook.training.segment import gather, improve
from closerlook.training.settings import agent_seed, initial_agents

TINY = TrainSettings(
    environment="training_environments:make_target",
    seeds=3,
    steps=3 * 64,
    n_steps=64,
    hidden=(8, 8),
    gamma=0.9,
    checkpoints=(0, 3),
    ppo=PPOSettings(policy_epochs=2, value_epochs=2, minibatches=4, policy_learning_rate=0.01),
)


@pytest.mark.parametrize("algorithm", ["ppo", "trpo"])
def test_training_is_the_same_with_an_audit(tmp_path, algorithm):
    settings = TINY if algorithm == "ppo" else replace(TINY, algorithm=algorithm, ppo=PPOSettings())
    plain = train(settings, out=tmp_path / "plain", workers=1)
    audited = train(settings, callbacks=[TrustRegionAudit()], out=tmp_path / "audited", workers=1)
    for path in sorted((tmp_path / "plain").glob("checkpoints/*/*/*.safetensors")):
        assert path.read_bytes() == (tmp_path / "audited" / path.relative_to(tmp_path / "plain")).read_bytes()
    for name in TRUST_AUDITED:
        assert name not in plain.log
        assert np.isfinite(audited.log[name]).all()
    written = pd.read_csv(tmp_path / "audited" / "training.csv")
    np.testing.assert_array_equal(written["audit_kl_p99"], audited.log["audit_kl_p99"])
    if algorithm == "trpo":
        np.testing.assert_allclose(audited.log["audit_surrogate_rise"], audited.log["surrogate_improvement"], atol=1e-6)
        np.testing.assert_allclose(audited.log["audit_predicted_rise"], audited.log["predicted_improvement"], atol=1e-5)


def test_the_numbers_are_those_of_a_slow_twin():
    settings = TINY.resolved()
    seeds = [agent_seed(settings, number) for number in range(3)]
    agents = Agent.stack(initial_agents(settings, range(3)))
    before, batch, *_ = gather(agents, settings, seeds, 0)
    after, info = improve(before, batch, settings, seeds, 0)
    found = audit_updates(before, after, batch, settings)
    number = 1
    policies = []
    for one in (before, after):
        own = list(one.unstack())[number]  # noqa: PD010 - not a data frame
        x = batch.observations[number, 0]
        for layer in range(3):
            x = x @ own.policy_parameters[f"{layer}.weight"].T + own.policy_parameters[f"{layer}.bias"]
            x = torch.tanh(x) if layer < 2 else x
        policies.append(Independent(Normal(x, own.policy_parameters["log_std"].exp()), 1))
    old, new = policies
    forward, backward = kl_divergence(old, new).numpy(), kl_divergence(new, old).numpy()
    assert found["audit_kl_p99"][number] == pytest.approx(np.quantile(forward, 0.99), rel=1e-3)
    assert found["audit_mean_reverse_kl"][number] == pytest.approx(backward.mean(), rel=1e-3)
    assert found["audit_max_reverse_kl"][number] == pytest.approx(backward.max(), rel=1e-3)
    ratio = (new.log_prob(batch.actions[number, 0]) - old.log_prob(batch.actions[number, 0])).exp()
    advantages = batch.advantages[number, 0]
    standard = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    clipped = torch.minimum(ratio * standard, ratio.clamp(0.8, 1.2) * standard)
    assert found["audit_surrogate_rise"][number] == pytest.approx(float((ratio * standard).mean()), abs=1e-5)
    assert found["audit_clipped_rise"][number] == pytest.approx(float(clipped.mean()), abs=1e-5)
    np.testing.assert_allclose(found["audit_clip_fraction"], info["clip_fraction"], atol=1e-12)
    assert found["audit_quadratic_kl"][number] == pytest.approx(forward.mean(), rel=0.5)
