"""Three of the second atlas' numbers on two tasks, by a script that shares no code with the library; what both cost.

One Gymnasium environment, networks written out as matrix products, actions drawn one by one, returns and advantages by
loops, gradients by autograd, intervals by a delete-one jackknife in three lines. The library is asked for two things
alone: the numbers in an agent's file, and the number that is to be met. Two numbers agree where their difference is
within both intervals together (the root of the sum of the squares of their half-widths).

    python benchmarks/plain.py                          prints, and writes docs/data/plain.json for the page
    python benchmarks/plain.py --batches 20 --print
"""

import argparse
import json
import time
from pathlib import Path

import gymnasium
import numpy as np
import torch
from scipy.stats import t as student

import closerlook as cl

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "data"
TASKS = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5"}
ITERATION, SEED, PAIRS = 150, 10, 2048
STATEMENTS = {
    "correlation-near-zero": "Mean cosine of estimates of 2,048 pairs to one another",
    "critic-misses-returns-as-released": "Critic's mean relative error to returns that stop with zero",
    "critic-beats-zero": "Mean cosine of such estimates without a baseline",
}


class Agent:
    """An agent as the numbers in its file."""

    def __init__(self, name: str) -> None:
        (agent,) = [one for one in cl.load(name, iteration=ITERATION) if one.agent_seed == SEED]
        numbers = {key: torch.as_tensor(value.numpy()) for key, value in agent.state.items()}
        self.policy = [numbers[f"policy.{layer}.{kind}"].float() for layer in (0, 1, 2) for kind in ("weight", "bias")]
        self.critic = [numbers[f"value.{layer}.{kind}"].float() for layer in (0, 1, 2) for kind in ("weight", "bias")]
        self.log_std = numbers["policy.log_std"].float()
        count = float(numbers["observations.count"])
        self.mean = numbers["observations.mean"].double().numpy()
        self.deviation = np.sqrt(numbers["observations.squares"].double().numpy() / (count - 1))
        squares, returns = float(numbers["returns.squares"][0]), float(numbers["returns.count"])
        self.reward_scale = np.sqrt(squares / (returns - 1) + 1e-8)


def network(layers: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Return a network of two hidden layers of tanh units at observations."""
    for weight, bias in zip(layers[:-2:2], layers[1:-2:2], strict=True):
        x = torch.tanh(x @ weight.T + bias)
    return x @ layers[-2].T + layers[-1]


def batch(agent: Agent, env: gymnasium.Env, seed: int) -> dict[str, np.ndarray]:
    """Sample 2,048 steps from a reset, as training does; rewards scaled and clipped as in training."""
    rng, rows = np.random.default_rng(seed), []
    raw, _ = env.reset(seed=seed)
    with torch.no_grad():
        for _ in range(PAIRS):
            x = torch.tensor(np.clip((raw - agent.mean) / (agent.deviation + 1e-8), -10, 10), dtype=torch.float32)
            mean = network(agent.policy, x)
            action = mean + agent.log_std.exp() * torch.tensor(rng.standard_normal(len(mean)), dtype=torch.float32)
            raw, reward, terminated, truncated, _ = env.step(action.numpy())
            value, scaled = float(network(agent.critic, x)), float(np.clip(reward / agent.reward_scale, -10, 10))
            rows.append((x.numpy(), action.numpy(), scaled, value, terminated or truncated))
            if terminated or truncated:
                raw, _ = env.reset()
    names = ("x", "action", "reward", "value", "ended")
    return dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))


def sums(steps: np.ndarray, ended: np.ndarray, factor: float, last: float = 0.0) -> np.ndarray:
    """Add up from every step on, discounted by a factor, until an episode ends."""
    found, following = np.zeros(len(steps)), last
    for k in reversed(range(len(steps))):
        following = steps[k] + factor * (0.0 if ended[k] else following)
        found[k] = following
    return found


def gradient(agent: Agent, sampled: dict[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the gradient of mean(ratio * weight) in the policy's parameters, by autograd."""
    leaves = [one.clone().requires_grad_() for one in (*agent.policy, agent.log_std)]
    mean, log_std = network(leaves[:-1], torch.tensor(sampled["x"])), leaves[-1]
    z = (torch.tensor(sampled["action"]) - mean) / log_std.exp()
    log_prob = (-0.5 * z**2 - log_std).sum(1)
    (torch.exp(log_prob - log_prob.detach()) * torch.tensor(weights)).mean().backward()
    return np.concatenate([leaf.grad.double().numpy().ravel() for leaf in leaves])


def mean_cosine(gradients: list[np.ndarray]) -> list[float]:
    """Return the mean cosine over pairs of estimates, and its interval by a jackknife over estimates of log(1 - c)."""
    rows = np.array([one / np.linalg.norm(one) for one in gradients])
    cosines, n = rows @ rows.T, len(rows)
    total = cosines.sum() - n
    value = total / (n * (n - 1))
    without = (total - 2 * (cosines.sum(axis=1) - 1)) / ((n - 1) * (n - 2))
    logs = np.log1p(-without)
    reach = student.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * np.square(logs - logs.mean()).sum())
    return [float(value), *(float(1 - (1 - value) * np.exp(sign * reach)) for sign in (1, -1))]


def numbers(task: str, batches: int) -> tuple[dict[str, list[float]], float]:
    """Return the three numbers of one agent with intervals, and the seconds that a pair took."""
    agent, env = Agent(f"atlas/{task}-ppo-v2"), gymnasium.make(TASKS[task])
    begun, gradients, bare, errors = time.process_time(), [], [], []
    for seed in range(batches):
        one = batch(agent, env, 1000 + seed)
        # as the released code has it: nothing follows an episode's end, and the last value stands in for the next one
        following = np.where(one["ended"], 0.0, np.append(one["value"][1:], one["value"][-1]))
        deltas = one["reward"] + 0.99 * following - one["value"]
        advantages = sums(deltas, one["ended"], 0.99 * 0.95)
        gradients.append(gradient(agent, one, (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)))
        returns = sums(one["reward"], one["ended"], 0.99)
        bare.append(gradient(agent, one, returns))
        least = 0.01 * np.sqrt(np.square(returns).mean())
        errors.append(np.mean(np.abs(one["value"] - returns) / np.maximum(np.abs(returns), least)))
    taken = (time.process_time() - begun) / (batches * PAIRS)
    reach = student.ppf(0.975, batches - 1) * np.std(errors, ddof=1) / np.sqrt(batches)
    error = float(np.mean(errors))
    found = (mean_cosine(gradients), [error, error - float(reach), error + float(reach)], mean_cosine(bare))
    return dict(zip(STATEMENTS, found, strict=True)), taken


def stored(task: str) -> dict[str, list[float]]:
    """Return the same three numbers from the datasets that the replication is made from."""
    gradients, values = (cl.read_dataset(DATA / "v2" / f"{kind}-{task}-ppo.nc") for kind in ("gradients", "values"))
    own = [
        data.isel(agent=int(np.flatnonzero((data["iteration"] == ITERATION) & (data["agent_seed"] == SEED))[0]))
        for data in (gradients, values)
    ]
    critic = {"critic": "as_is", "target": "cut_off_returns"}
    zero = {"baseline": "zero", "size": PAIRS}
    ends = ("", "_low", "_high")
    return {
        "correlation-near-zero": [float(own[0][f"pairwise_cosine{end}"].sel(size=PAIRS)) for end in ends],
        "critic-misses-returns-as-released": [float(own[1][f"mean_relative_error{end}"].sel(critic)) for end in ends],
        "critic-beats-zero": [float(own[1][f"baseline_pairwise_cosine{end}"].sel(zero)) for end in ends],
    }


def library_seconds(task: str, batches: int) -> float:
    """Return the processor seconds that the library takes for a pair of the first number."""
    (agent,) = [one for one in cl.load(f"atlas/{task}-ppo-v2", iteration=ITERATION) if one.agent_seed == SEED]
    ask = {"estimates": batches, "sizes": [PAIRS], "workers": 1, "progress": False}
    cl.gradient_quality(agent, pairs=4 * PAIRS, **{**ask, "estimates": 4})
    begun = time.process_time()
    cl.gradient_quality(agent, pairs=batches * PAIRS, **ask)
    return (time.process_time() - begun) / (batches * PAIRS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--print", action="store_true", help="write no file")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for task in TASKS:
        plain, taken = numbers(task, chosen.batches)
        theirs, own_cost = stored(task), library_seconds(task, chosen.batches)
        for name, words in STATEMENTS.items():
            one, other = plain[name], theirs[name]
            room = np.hypot(one[2] - one[1], other[2] - other[1]) / 2
            agrees = bool(abs(one[0] - other[0]) <= room)
            rows.append({"task": task, "id": name, "what": words, "plain": one, "library": other, "agrees": agrees})
            written = ["{:.3f} ({:.3f} to {:.3f})".format(*each) for each in (one, other)]
            print(f"{task:9} {words:60} plain {written[0]}  library {written[1]}  agree: {agrees}", flush=True)
        cost = {"task": task, "plain": taken, "library": own_cost, "batches": chosen.batches}
        rows.append(cost)
        print(f"{task:9} microseconds a pair: plain {1e6 * taken:.0f}, library {1e6 * own_cost:.0f}", flush=True)
    if not chosen.print:
        (DATA / "plain.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
