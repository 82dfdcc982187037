"""Count how often a monitor is at watch or at problem in training that is healthy, and write the tables of monitor.md.

Agents are trained by Stable-Baselines3's PPO with the RL Zoo's settings on six tasks (hyperparams/ppo.yml of
rl-baselines3-zoo; MuJoCo's in the versions of today), and by this library with the settings of its atlas. Every update
is measured, all else of the monitor is at its defaults. Levels follow from the numbers that are kept, so that the
tables always are those of the limits in use.

Healthy is an agent that learned by its own return: over the last fifth of its updates the mean return of the episodes
that ended in an update is above that of the first fifth by more than two standard errors, updates as units. Others are
named, and left out of the rates.

Said before anything was measured: too high, for a number, is in either of the two sources more than 20 rises to watch
or more than 2 rises to problem in 1,000 updates, or to stand at watch or above in more than a tenth of the updates of
any task. A fault of lint is always too much. What is too high is looked at. Where healthy agents are there as a rule,
the limit is moved beyond what they show, and what such limits would have missed is told; where the training is in truly
unusual a state, the limit stays, and the page says so.

    python docs/alarms.py                          writes the tables from docs/data/alarms.json.gz
    python docs/alarms.py --measure                trains and measures what is not there yet: an hour
    python docs/alarms.py --measure CartPole-v1-0  the runs that are named alone; those that are there begin anew
"""

import argparse
import gzip
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from measured import DATA, DOCS, replaced, table
from scipy.special import gammaincinv

import closerlook as cl
from closerlook.monitor.checks import ORDER
from closerlook.monitor.levels import LIMITS, Levels
from closerlook.monitor.monitor import ranks_to_first
from closerlook.monitor.sinks import Measured
from closerlook.monitor.training_monitor import PREFIX, WATCHED
from closerlook.training.segment import train_segment
from closerlook.training.settings import agent_seed, initial_agents

PAGE, STORED = DOCS / "monitor.md", DATA / "alarms.json.gz"
SOURCES = {"zoo": "RL Zoo, Stable-Baselines3's PPO", "ours": "ours, as in the atlas"}
RETURN = "episode_return"
Numbers = dict[str, list[float | None]]


@dataclass(frozen=True)
class Zoo:
    """The RL Zoo's settings of PPO on one task; schedules are linear where they are named so.

    Parameters
    ----------
    task : str
        Of Gymnasium.
    seeds, updates : int
        How many agents, and how many updates of each at most.
    steps : float
        Environment steps of a whole training, which schedules go by.
    n_envs : int
        Environments.
    normalize : bool
        Whether observations and rewards are standardized (VecNormalize).
    linear : mapping of str to float
        Settings that fall to zero in a line, and from where.
    settings : mapping of str to object
        The others, by the library's names.
    """

    task: str
    seeds: int
    updates: int
    steps: float
    n_envs: int = 1
    normalize: bool = False
    linear: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Whose settings."""
        return "zoo"

    def measure(self, seed: int) -> Numbers:
        """Train one agent, watched at every update."""
        from stable_baselines3 import PPO  # noqa: PLC0415 - the tables are written without it
        from stable_baselines3.common.env_util import make_vec_env  # noqa: PLC0415
        from stable_baselines3.common.vec_env import VecNormalize  # noqa: PLC0415

        from closerlook.adapters.sb3 import MonitorCallback  # noqa: PLC0415

        env = make_vec_env(self.task, n_envs=self.n_envs, seed=seed)
        settings = {**self.settings, **{name: _line(start) for name, start in self.linear.items()}}
        if self.normalize:
            env = VecNormalize(env, gamma=settings.get("gamma", 0.99))
        taken: list[Measured] = []
        model = PPO("MlpPolicy", env, seed=seed, device="cpu", **settings)
        returns = _returns_of(self.updates)
        model.learn(int(self.steps), callback=[returns, MonitorCallback(cl.Monitor(every=1, sink=taken.append))])
        found = [{**one.numbers, RETURN: own} for one, own in zip(taken, returns.means, strict=True)]
        return {name: [_short(row.get(name, math.nan)) for row in found] for name in (RETURN, *WATCHED)}


def _line(start: float) -> Any:
    return lambda remaining: start * remaining


def _returns_of(updates: int) -> Any:
    """Return a callback that keeps the mean return of the episodes that end in each rollout, and ends the training."""
    from stable_baselines3.common.callbacks import BaseCallback  # noqa: PLC0415

    class Returns(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.means: list[float] = []
            self.own: list[float] = []

        def _on_step(self) -> bool:
            self.own += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
            return len(self.means) < updates  # the first step after the last update

        def _on_rollout_end(self) -> None:
            self.means.append(float(np.mean(self.own)) if self.own else math.nan)
            self.own = []

    return Returns()


@dataclass(frozen=True)
class Ours:
    """Training of this library with the settings of its atlas.

    Parameters
    ----------
    task, algorithm : str
        A column of the atlas.
    seeds : int
        How many agents, none of which is in an atlas.
    updates : int
        How many of each are made; schedules go by the whole training.
    """

    task: str
    algorithm: str
    updates: int
    seeds: int = 1

    @property
    def source(self) -> str:
        """Whose settings."""
        return "ours"

    def measure(self, seed: int) -> Numbers:
        """Train one agent, watched at every update."""
        number = FIRST_SEED + seed
        changes = {"steps": 1_000_000, "seeds": 1, "first_seed": number}
        settings = cl.TrainSettings.of_preset("paper", self.task, self.algorithm, **changes).resolved()
        agents, seeds = cl.Agent.stack(initial_agents(settings, [number])), [agent_seed(settings, number)]
        log = train_segment(agents, settings, seeds, 0, self.updates, [cl.TrainingMonitor(every=1)])
        columns = {RETURN: log["log.mean_reward"], **{name: log[f"log.{PREFIX}{name}"] for name in WATCHED}}
        return {name: [_short(value) for value in column[0]] for name, column in columns.items()}


def _short(value: float) -> float | None:
    """Return a number of four digits; None, as JSON has it, for what is not finite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


FIRST_SEED = 40
_SMALL_STEPS = {"log_std_init": -3.29, "ortho_init": False}
_LARGE = {"log_std_init": -2, "ortho_init": False, "net_arch": [256, 256], "activation_fn": torch.nn.ReLU}
TASKS: Mapping[str, Zoo | Ours] = {
    "CartPole-v1": Zoo(
        *("CartPole-v1", 2, 391, 1e5, 8),
        linear={"learning_rate": 0.001, "clip_range": 0.2},
        settings={"n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20},
    ),
    "Acrobot-v1": Zoo(
        *("Acrobot-v1", 1, 60, 1e6, 16),
        normalize=True,
        settings={"n_steps": 256, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4},
    ),
    "MountainCarContinuous-v0": Zoo(
        *("MountainCarContinuous-v0", 1, 2500, 2e4),
        normalize=True,
        settings={
            "n_steps": 8,
            "batch_size": 256,
            "gamma": 0.9999,
            "gae_lambda": 0.9,
            "n_epochs": 10,
            "learning_rate": 7.77e-5,
            "ent_coef": 0.00429,
            "clip_range": 0.1,
            "max_grad_norm": 5,
            "vf_coef": 0.19,
            "use_sde": True,
            "policy_kwargs": _SMALL_STEPS,
        },
    ),
    "Pendulum-v1": Zoo(
        *("Pendulum-v1", 2, 24, 1e5, 4),
        settings={
            "n_steps": 1024,
            "gae_lambda": 0.95,
            "gamma": 0.9,
            "n_epochs": 10,
            "learning_rate": 0.001,
            "use_sde": True,
            "sde_sample_freq": 4,
        },
    ),
    "Swimmer-v5": Zoo("Swimmer-v5", 1, 60, 1e6, normalize=True, settings={"gamma": 0.9999}),
    "Hopper-v5": Zoo(
        *("Hopper-v5", 1, 200, 1e6),
        normalize=True,
        settings={
            "n_steps": 512,
            "batch_size": 32,
            "gamma": 0.999,
            "gae_lambda": 0.99,
            "n_epochs": 5,
            "learning_rate": 9.80828e-5,
            "ent_coef": 0.00229519,
            "max_grad_norm": 0.7,
            "vf_coef": 0.835671,
            "policy_kwargs": {
                "log_std_init": -2,
                "ortho_init": False,
                "net_arch": [256, 256],
                "activation_fn": torch.nn.ReLU,
            },
        },
    ),
    "Hopper-v5 PPO": Ours("hopper", "ppo", 250),
    "Walker2d-v5 PPO": Ours("walker2d", "ppo", 250),
    "Hopper-v5 TRPO": Ours("hopper", "trpo", 150),
}
"""By the name that tables show: what is trained. Trainings that take long are ended before their schedule is."""


@dataclass
class Rises:
    """What one number did in some updates.

    Parameters
    ----------
    watch, problem : int
        Rises of its level to there.
    standing, known : int
        Updates at watch or above, and those in which it was measured.
    """

    watch: int = 0
    problem: int = 0
    standing: int = 0
    known: int = 0


def rises_of(numbers: Numbers) -> dict[str, Rises]:
    """Follow the levels of one training with today's limits: what each number that has one did."""
    levels, first, found = Levels(LIMITS), dict[str, float](), {name: Rises() for name in LIMITS}
    for update in range(len(numbers[RETURN])):
        known = {name: column[update] for name, column in numbers.items()}
        row = {name: math.nan if value is None else value for name, value in known.items()}
        before, row = dict(levels.standing), row | ranks_to_first(row, first)
        for name, own in found.items():
            own.known += not math.isnan(row.get(name, math.nan))
        for name, level in levels.take(row).items():
            if ORDER.index(level) > ORDER.index(before.get(name, "ok")):
                setattr(found[name], level, getattr(found[name], level) + 1)
        for name, level in levels.standing.items():
            found[name].standing += level != "ok"
    return found


def learned(numbers: Numbers) -> tuple[float, float, bool]:
    """Return the mean return of the first and the last fifth of the updates, and whether it surely rose."""
    returns = np.array([math.nan if one is None else one for one in numbers[RETURN]])
    fifth = max(1, len(returns) // 5)
    parts = [part[np.isfinite(part)] for part in (returns[:fifth], returns[-fifth:])]
    if min(map(len, parts)) < 2:
        return math.nan, math.nan, False
    (first, last), error = (
        (part.mean() for part in parts),
        math.hypot(*(p.std(ddof=1) / math.sqrt(len(p)) for p in parts)),
    )
    return float(first), float(last), bool(last - first > 2 * error)


def rate(events: int, updates: int) -> str:
    """Write events in 1,000 updates with the exact 95% interval of a Poisson rate."""
    # Garwood (1936): low = G^-1(0.025; k), high = G^-1(0.975; k + 1), quantiles of gamma distributions
    low = gammaincinv(events, 0.025) if events else 0.0
    value, low, high = (1000 * one / updates for one in (events, low, gammaincinv(events + 1, 0.975)))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


@dataclass(frozen=True)
class Run:
    """One agent's training.

    Parameters
    ----------
    name, source : str
        Of `TASKS`, of `SOURCES`.
    updates : int
        That were measured.
    first, last : float
        Mean return of the first and the last fifth.
    healthy : bool
        Whether it surely rose.
    rises : mapping of str to Rises
        By number.
    """

    name: str
    source: str
    updates: int
    first: float
    last: float
    healthy: bool
    rises: Mapping[str, Rises]


def runs_of(stored: Mapping[str, Numbers]) -> list[Run]:
    """Judge every training that is stored, in the order of `TASKS`."""
    found = []
    for name, task in TASKS.items():
        for seed in range(task.seeds):
            numbers = stored.get(f"{name}-{seed}")
            if numbers is not None:
                judged = learned(numbers)
                found.append(Run(name, task.source, len(numbers[RETURN]), *judged, rises_of(numbers)))
    return found


def by_task(runs: Sequence[Run]) -> str:
    """Lay out how often levels rose on each task, over all numbers."""
    rows = []
    for name in dict.fromkeys(run.name for run in runs):
        own = [run for run in runs if run.name == name]
        well = [run for run in own if run.healthy]
        updates = sum(run.updates for run in well)
        counts = [
            sum(getattr(one, level) for run in well for one in run.rises.values()) for level in ("watch", "problem")
        ]
        earned = "; ".join(f"{run.first:,.4g} to {run.last:,.4g}" for run in own)
        rates = [rate(count, updates) if updates else "-" for count in counts]
        rows.append([SOURCES[own[0].source], name, f"{len(well)} of {len(own)}", f"{updates:,}", earned, *rates])
    head = [
        "settings",
        "task",
        "agents that learned",
        "updates",
        "mean return, first fifth to last",
        "to watch",
        "to problem",
    ]
    return table(head, rows)


def by_number(runs: Sequence[Run]) -> str:
    """Lay out how often each number's level rose in either source, and where it stood longest."""
    well, rows = [run for run in runs if run.healthy], []
    for name, limit in LIMITS.items():
        cells = []
        for source in SOURCES:
            own = [run.rises[name] for run in well if run.source == source]
            counts = [sum(getattr(one, level) for one in own) for level in ("watch", "problem")]
            known = sum(one.known for one in own)
            cells += [rate(count, known) if known else "-" for count in counts]
        if any(run.rises[name].standing for run in well):
            rows.append([f"`{name}`", f"{limit.watch:g}, {limit.problem:g}", *cells, _longest(well, name)])
    silent = [
        f"`{name}` ({sum(run.rises[name].known for run in well):,})"
        for name in LIMITS
        if not any(run.rises[name].standing for run in well)
    ]
    heads = [f"{source}: to {level}" for source in ("zoo", "ours") for level in ("watch", "problem")]
    text = table(["number", "limits", *heads, "longest at watch or above"], rows) if rows else ""
    return f"{text}\nNever beyond their limits, in so many updates in which they were measured: {', '.join(silent)}.\n"


def _longest(runs: Sequence[Run], name: str) -> str:
    """Write on which task a number stood beyond its limits in the largest share of the updates."""
    counts: Counter[str] = Counter()
    updates: Counter[str] = Counter()
    for run in runs:
        counts[run.name] += run.rises[name].standing
        updates[run.name] += run.updates
    place = max(counts, key=lambda one: counts[one] / updates[one])
    return f"{place}: {100 * counts[place] / updates[place]:.1f}%"


def tables(stored: Mapping[str, Numbers]) -> str:
    """Lay out both tables."""
    runs, planned = runs_of(stored), sum(task.seeds for task in TASKS.values())
    return f"Measured: {len(runs)} of {planned} trainings.\n\n{by_task(runs)}\n{by_number(runs)}"


def load() -> dict[str, Numbers]:
    """Read what was measured."""
    return json.loads(gzip.decompress(STORED.read_bytes())) if STORED.exists() else {}


def missing(stored: Mapping[str, Numbers], names: Sequence[str]) -> Iterator[tuple[str, Zoo | Ours, int]]:
    """Yield the trainings to be made: those that are named, else all that are not there."""
    for name, task in TASKS.items():
        for seed in range(task.seeds):
            run = f"{name}-{seed}"
            if run in names or (not names and run not in stored):
                yield run, task, seed


def main() -> int:
    """Train what is asked for, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="*", metavar="RUN")
    names = parser.parse_args().measure
    stored = load()
    for run, task, seed in missing(stored, names) if names is not None else ():
        stored[run] = task.measure(seed)
        STORED.write_bytes(gzip.compress(json.dumps(stored, sort_keys=True).encode(), 9, mtime=0))
        sys.stderr.write(f"{run}: {len(stored[run][RETURN])} updates, {learned(stored[run])}\n")
    PAGE.write_text(replaced(PAGE.read_text(), "alarms", tables(stored)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
