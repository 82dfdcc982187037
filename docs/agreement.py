"""Compare what a batch says of itself with the full measurement of the same checkpoint, and write monitor.md's table.

Twenty checkpoints of three trainings: CartPole by Stable-Baselines3's PPO, Pendulum by a script in CleanRL's style, and
agents of the atlas on Hopper, whose batches are sampled and updated as in training. At each the monitor measures one
update, and the diagnostics measure the agent that sampled it, from pools of their own.

- `noise_scale_pairs` and `batch_true_cosine` are held against `gradients`: its noise scale, and the cosine of
  estimates of a batch's size to the exact gradient, which it measures and does not predict.
- `explained_variance_lambda` against the explained variance that `values` gives for the same critic and V + A.
- `mean_kl`, `kl_p99`, `max_ratio` and `clip_fraction_end` are exact numbers of one update, without an interval. Held
  against them is the range in which one more update lies with 95%, by the updates that `trust-region` makes of
  independent batches (Student's t, of logarithms; of the arcsine of roots for shares).

Said before anything was measured: of 20 intervals at 95%, 17 or more hold what the full measurement says; at the level
that they claim, fewer do once in 60 times. A batch that says nothing (too few parts) counts as one that does not hold.

    python docs/agreement.py            writes the table from docs/data/agreement.json
    python docs/agreement.py --measure  makes the batches anew, and measures in full what is not there yet: half an hour
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cleanrl_style import Args, train
from measured import DATA, DOCS, replaced, table
from scipy import stats

import closerlook as cl
from closerlook.agents.rewards import frozen_rewards
from closerlook.algorithms.batch import make_batch
from closerlook.algorithms.rules import UPDATES, rule_of
from closerlook.monitor.own_training import batches_of
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout

PAGE, STORED = DOCS / "monitor.md", DATA / "agreement.json"
OF_UPDATES = {
    "mean_kl": "mean_kl_batch",
    "kl_p99": "kl_p99_batch",
    "max_ratio": "max_ratio",
    "clip_fraction_end": "clip_fraction",
}
POOLS = {"CartPole-v1": 65_536, "Pendulum-v1": 40_960, "Hopper-v5": 131_072}
"""Pairs that gradients are measured from; the signal is weakest on Hopper."""
ESTIMATES = ("noise_scale_pairs", "batch_true_cosine", "explained_variance_lambda", *OF_UPDATES)
FEWEST = 17
SB3_UPDATES, SCRIPT_UPDATES = (2, 5, 9, 14, 20, 26, 32), (1, 4, 7, 10, 13, 16)
ATLAS = ((0, 0), (0, 1), (0, 2), (150, 0), (150, 1), (450, 0), (450, 1))
CHECKPOINTS = len(SB3_UPDATES) + len(SCRIPT_UPDATES) + len(ATLAS)
Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much the full measurements take.

    Parameters
    ----------
    gradients, values : int
        Pairs of their pools.
    repeats : int
        Updates of `trust-region`.
    """

    gradients: int
    values: int = 32_768
    repeats: int = 10


@dataclass(frozen=True)
class Checkpoint:
    """An agent as it was when it sampled a batch, and what the monitor said of that batch and its update."""

    agent: cl.Agent
    numbers: Mapping[str, float]


def of_sb3(updates: Sequence[int]) -> Iterator[Checkpoint]:
    """Yield checkpoints of PPO of Stable-Baselines3 on CartPole."""
    from stable_baselines3 import PPO  # noqa: PLC0415 - the table is written without it
    from stable_baselines3.common.callbacks import BaseCallback  # noqa: PLC0415
    from stable_baselines3.common.env_util import make_vec_env  # noqa: PLC0415

    from closerlook.adapters.sb3 import MonitorCallback  # noqa: PLC0415

    agents: list[cl.Agent] = []

    class Keep(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            agents.append(cl.from_sb3(self.model))

    taken: list[Any] = []
    env = make_vec_env("CartPole-v1", n_envs=8, seed=0)
    model = PPO("MlpPolicy", env, n_steps=256, batch_size=256, gamma=0.98, seed=0, device="cpu")
    watch = MonitorCallback(cl.Monitor(every=1, sink=taken.append))
    model.learn(max(updates) * 8 * 256, callback=[Keep(), watch])
    for update in updates:
        yield Checkpoint(agents[update - 1], taken[update - 1].numbers)


def of_script(updates: Sequence[int], args: Args = Args()) -> Iterator[Checkpoint]:  # noqa: B008 - it is frozen
    """Yield checkpoints of a script in CleanRL's style on Pendulum."""
    monitor = cl.Monitor(every=1, sink=())
    for update, (batch, before, agent) in zip(range(1, max(updates) + 1), train(args), strict=False):
        measured = monitor.on_update(None, agent, batch)
        if update in updates:
            assert measured is not None
            yield Checkpoint(before, measured.numbers)


def of_atlas(checkpoints: Sequence[tuple[int, int]], column: str = "atlas/hopper-ppo") -> Iterator[Checkpoint]:
    """Yield agents of the atlas, by iteration and seed, each with a batch as training samples and updates it."""
    for iteration, seed in checkpoints:
        agent = cl.load(column, iteration=iteration, seed=seed)
        assert isinstance(agent, cl.Agent)
        yield Checkpoint(agent, own_update(agent))


def own_update(agent: cl.Agent) -> Mapping[str, float]:
    """Sample a batch as the agent's training would, update the agent from it, and let the monitor measure that."""
    assert agent.environment is not None
    agents, rule, regime = cl.Agent.stack([agent]), rule_of(agent), agent.regime
    streams = range(regime.n_envs)
    sampled = rollout(
        agents, agent.environment, Sampling(regime.n_steps), seeds=[0], purpose="agreement", streams=streams
    )
    own = make_batch(agents, sampled, frozen_rewards(agents, sampled.rewards))
    updated, _ = UPDATES[rule.algorithm](agents, own, rule.settings, seeds=[0], iteration=rule.iteration)
    measured = cl.Monitor(every=1, sink=()).on_update(None, updated.unstack()[0], batches_of(agents, own, sampled)[0])
    assert measured is not None
    return measured.numbers


SOURCES = {
    "CartPole-v1, Stable-Baselines3": lambda: zip(SB3_UPDATES, of_sb3(SB3_UPDATES), strict=True),
    "Pendulum-v1, script in CleanRL's style": lambda: zip(SCRIPT_UPDATES, of_script(SCRIPT_UPDATES), strict=True),
    "Hopper-v5, ours": lambda: zip((f"{it}, seed {seed}" for it, seed in ATLAS), of_atlas(ATLAS), strict=True),
}


def measure(agent: cl.Agent, sizes: Sizes) -> dict[str, list[float]]:
    """Measure the agent in full: what is held against each estimate, with the ends of its interval or range."""
    batch = agent.regime.batch_pairs
    same = {"workers": 1, "seed": 1}
    gradients = cl.gradient_quality(agent, pairs=sizes.gradients, sizes=[batch], **same)
    less = {"fit_pairs": 0, "restarts": 0, "updates": 0, "lambdas": [agent.gae_lambda]}
    values = cl.run("values", agent, pairs=sizes.values, **less, **same)
    steps = cl.trust_region(agent, repeats=sizes.repeats, pairs=2, return_pairs=0, multiples=[1.0], **same)
    critic = {"critic": "as_is", "target": "gae"}
    full = {
        "noise_scale_pairs": _of(gradients, "noise_scale_pairs"),
        "batch_true_cosine": _of(gradients.isel(size=0), "true_cosine_corrected"),
        "explained_variance_lambda": _of(values.sel(critic), "explained_variance"),
    }
    for name, theirs in OF_UPDATES.items():
        full[name] = one_more(np.asarray(steps[theirs], dtype=float).ravel(), share=name == "clip_fraction_end")
    return full


def beside(numbers: Mapping[str, float], full: Mapping[str, Sequence[float | str | None]]) -> list[Row]:
    """Put what the batch says beside the full measurement; None is what is not known, or no end."""
    rows = []
    for name, theirs in full.items():
        ends = ("",) if name in OF_UPDATES else ENDS
        own = [numbers.get(f"{name}{end}", math.nan) for end in ends]
        rows.append({"estimate": name, "batch": [_plain(one) for one in own], "full": [_plain(one) for one in theirs]})
    return rows


ENDS = ("", "_low", "_high")


def _of(dataset: Any, name: str) -> list[float]:
    return [float(np.asarray(dataset[f"{name}{end}"]).item()) for end in ENDS]


def _plain(value: float | str | None) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    return None if math.isnan(value) else "no end" if math.isinf(value) else float(f"{value:.5g}")


def one_more(values: np.ndarray, *, share: bool) -> list[float]:
    """Return the middle and the ends of the range that one more of such values lies in with 95%.

    Parameters
    ----------
    values : ndarray, (n,)
        Positive, or shares.
    share : bool
        Which of the two.
    """
    there, back = (_arcsine, _sine) if share else (np.log, np.exp)
    scaled = there(values)
    # mean +- t_(n - 1) s sqrt(1 + 1 / n)
    reach = stats.t.ppf(0.975, len(values) - 1) * scaled.std(ddof=1) * math.sqrt(1 + 1 / len(values))
    return [float(back(scaled.mean() + side * reach)) for side in (0, -1, 1)]


def _arcsine(shares: np.ndarray) -> np.ndarray:
    return np.arcsin(np.sqrt(shares))


def _sine(angles: np.ndarray) -> np.ndarray:
    return np.square(np.sin(np.clip(angles, 0, np.pi / 2)))


def agrees(row: Row) -> bool:
    """Whether the batch's interval holds the full value, or overlaps its interval where noise hides the value."""
    batch, full = ([_number(value) for value in row[side]] for side in ("batch", "full"))
    if len(batch) == 1:
        return full[1] <= batch[0] <= full[2]
    if math.isnan(full[0]):
        return batch[1] <= full[2] and full[1] <= batch[2]
    return batch[1] <= full[0] <= batch[2]


def _number(value: float | str | None) -> float:
    return math.nan if value is None else math.inf if isinstance(value, str) else value


def laid_out(stored: Mapping[str, Sequence[Row]]) -> str:
    """Lay out how many checkpoints agree, and by how much what the batch says is off on average."""
    rows = []
    for name in ESTIMATES:
        own = [(key.split(":")[0], row) for key, found in stored.items() for row in found if row["estimate"] == name]
        cells = []
        for source in SOURCES:
            here = [row for task, row in own if task == source]
            cells.append(f"{sum(map(agrees, here))} of {len(here)}")
        held = sum(agrees(row) for _, row in own)
        verdict = "open" if len(stored) < CHECKPOINTS else "yes" if held >= FEWEST else "**no**"
        silent = sum(row["batch"][-1] is None for _, row in own)
        rows.append([f"`{name}`", *cells, f"{held} of {len(own)}", str(silent), verdict])
    measured = f"Measured: {len(stored)} of {CHECKPOINTS} checkpoints.\n\n"
    return measured + table(["estimate", *SOURCES, "all", "said nothing", f"{FEWEST} or more"], rows)


def load() -> dict[str, list[Row]]:
    """Read what was measured."""
    return json.loads(STORED.read_text()) if STORED.exists() else {}


def main() -> int:
    """Measure what is not there yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    stored = load()
    for source, checkpoints in SOURCES.items() if parser.parse_args().measure else ():
        for label, checkpoint in checkpoints():
            key = f"{source}: {label}"
            known = {row["estimate"]: row["full"] for row in stored.get(key, [])}
            full = known or measure(checkpoint.agent, Sizes(POOLS[source.split(",")[0]]))
            stored[key] = beside(checkpoint.numbers, full)
            STORED.write_text(json.dumps(stored, indent=0) + "\n")
            sys.stderr.write(f"{key}: {[agrees(row) for row in stored[key]]}\n")
    PAGE.write_text(replaced(PAGE.read_text(), "agreement", laid_out(stored)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
