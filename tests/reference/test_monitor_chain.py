"""What batches of the chain say of themselves: how often intervals hold the answer of dynamic programming."""

import numpy as np
import pytest
import torch

import chain
import closerlook as cl
from chain import GAMMA, STATES, STEPS, WRONG
from chain_streams import Streams, sample
from closerlook.monitor.gradient_estimates import gradient_agreement
from closerlook.monitor.update_estimates import critic_estimates
from coverage_page import LEVELS, OWN_LAMBDA

BATCHES = 400
POLICY = torch.nn.Linear(STATES, chain.ACTIONS)
with torch.no_grad():
    POLICY.weight.copy_(torch.from_numpy(chain.WEIGHTS))
    POLICY.bias.copy_(torch.from_numpy(chain.BIASES))


class Chances(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.logits = POLICY

    def forward(self, x):
        return torch.distributions.Categorical(logits=self.logits(x))


def batch_of(streams: Streams) -> cl.Batch:
    """The streams as a trainer would have them, each an environment of its own."""
    values = WRONG.astype(float)
    advantages = streams.advantages(values, OWN_LAMBDA)
    log_probs = np.log(chain.policy())[streams.states, streams.actions]
    return cl.Batch(
        rewards=streams.rewards.T,
        observations=np.eye(STATES, dtype=np.float32)[streams.states.T],
        actions=streams.actions.T,
        log_probs=log_probs.T,
        values=values[streams.states].T,
        last_values=values[streams.arrived[:, -1]],
        truncation_values=values[streams.arrived].T,
        terminated=streams.terminated.T,
        truncated=streams.truncated.T,
        advantages=advantages.T,
        returns=(advantages + values[streams.states]).T,
        gamma=GAMMA,
        gae_lambda=OWN_LAMBDA,
        normalize_advantages="none",
        policy=Chances(),
    )


def exact_answers(noise: float, pairs: int) -> dict[str, float]:
    """The noise scale, the cosine of a whole batch's gradient, and what the critic explains of V + A.

    The mean cosine to the exact gradient is that of batches from 24,000 streams.
    """
    own = chain.exact(chain.advantages(WRONG, OWN_LAMBDA), noise)
    scale = own.variance / (own.gradient @ own.gradient)
    streams = sample(24_000, noise, 12)
    scores = chain.scores()[streams.states, streams.actions]
    sums = np.einsum("stp,st->sp", scores, streams.advantages(WRONG.astype(float), OWN_LAMBDA))
    batches = sums.reshape(-1, pairs // STEPS, sums.shape[1]).sum(axis=1)
    cosines = batches @ own.gradient / np.linalg.norm(batches, axis=1) / np.linalg.norm(own.gradient)
    often = chain.occupancy().sum(axis=(0, 2)) / STEPS
    value, square = often @ WRONG, often @ WRONG.astype(float) ** 2
    # E y^2 = E A^2 + 2 E[V A] + E V^2, y = V + A
    targets = own.square + 2 * often @ (WRONG * own.by_state) + square - (own.weight + value) ** 2
    return {
        "noise_scale_pairs": scale,
        "batch_true_cosine": float(cosines.mean()),
        "explained_variance_lambda": 1 - (own.square - own.weight**2) / targets,
    }


def test_batches_of_the_chain_are_healthy():
    found = cl.lint(batch_of(sample(8, 0.5, 0)))
    assert not found.faults, str(found)
    assert found["advantages"].level == found["log_probs"].level == found["returns"].level == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("environments", [24, 8])
def test_intervals_of_batches_hold_the_exact_answer(level, environments):
    """With 24 environments these are the parts of a batch, with 8 their trajectories are."""
    streams = sample(BATCHES * environments, LEVELS[level], 11)
    exact = exact_answers(LEVELS[level], environments * STEPS)
    held = dict.fromkeys(exact, 0)
    for number in range(BATCHES):
        batch = batch_of(streams[number * environments : (number + 1) * environments])
        found = gradient_agreement(batch) | critic_estimates(batch)
        for name, value in exact.items():
            held[name] += found[f"{name}_low"] <= value <= found[f"{name}_high"]
    shares = {name: count / BATCHES for name, count in held.items()}
    # of 95%; the standard error of 400 is 1%
    assert min(shares.values()) >= 0.92, shares
