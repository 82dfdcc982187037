"""Measure what changed in the tasks since the paper, and write the tables of learning.md.

Every agent of the first atlas earns its return twice with the same draws. Humanoid: with its actions as v5 takes them,
which charges for them unclipped, and clipped first, as the engine clamped its controls until MuJoCo 2.2.1. Hopper and
Walker2d: in v5, and in v4, which has the bodies and rewards of the paper's v2 on today's engine. Humanoid's agents of
the second atlas, which were trained with clipped actions, earn theirs in the same two ways.

    python docs/older_tasks.py                                    writes the tables from docs/data/older-tasks.json
    python docs/older_tasks.py --measure hopper-ppo humanoid-ppo-v2  measures these columns first: a minute each
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from measured import DATA, DOCS, gained, replaced, table

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.loading import find_agents
from closerlook.drawing.style import mean_with_interval
from closerlook.errors import InputError
from closerlook.measurements.episode_returns import sample_returns
from closerlook.measurements.stream_sums import StreamRange
from closerlook.measurements.surfaces import flat_parameters
from closerlook.randomness import derive_seed
from closerlook.simulation.records import Sampling
from closerlook.training.atlas import ENTRIES

PAGE, STORED = DOCS / "learning.md", DATA / "older-tasks.json"
ITERATIONS, STREAMS = (0, 150, 300, 450), 4
STEPS = {"humanoid": 512, "hopper": 1024, "walker2d": 1024}
OLDER = {"hopper": "Hopper-v4", "walker2d": "Walker2d-v4"}
Row = Mapping[str, Any]


def earned(task: str, agent: Agent, environment: EnvironmentSpec) -> tuple[float, float]:
    """Return an agent's mean return, and mean length, of the episodes that begin in 4 streams."""
    purpose = f"{task} reward"
    seed = derive_seed(0, purpose, stream=agent.agent_seed or 0)
    streams = StreamRange(0, purpose, 0, STREAMS)
    own, sampling = flat_parameters(agent)[None], Sampling(STEPS[task])
    sums = sample_returns(agent, own, environment, sampling, streams, [seed], list_episodes=False)
    episodes = sums["episodes"].sum()
    return float(sums["returns"].sum() / episodes), float(sums["steps"].sum() / episodes)


def ways(task: str, agent: Agent) -> Iterator[tuple[str, Agent, EnvironmentSpec]]:
    """Yield agent and environment as they are today, and as the paper had them."""
    assert agent.environment is not None
    yield "v5", replace(agent, action_transform="none"), agent.environment
    if task in OLDER:
        yield "older", agent, EnvironmentSpec(OLDER[task])
    else:
        yield "older", replace(agent, action_transform="clip"), agent.environment


def measure(column: str) -> list[Row]:
    """Return the returns and lengths both ways of each agent of a column, and the mean deviation of its actions."""
    task, rows = column.split("-", maxsplit=1)[0], []
    for iteration in ITERATIONS:
        for agent in find_agents(f"atlas/{column}", iteration=iteration):
            row: dict[str, Any] = {"column": column, "iteration": iteration, "seed": agent.agent_seed}
            row["deviation"] = float(agent.state["policy.log_std"].exp().mean())
            for way, acting, environment in ways(task, agent):
                row[way], row[f"{way}_steps"] = earned(task, acting, environment)
            rows.append(row)
            sys.stderr.write(f"{row}\n")
    return rows


def of(rows: Sequence[Row], column: str, iteration: int, name: str) -> np.ndarray:
    """Return a number of each of a column's agents at one iteration."""
    return np.array([row[name] for row in rows if (row["column"], row["iteration"]) == (column, iteration)])


def laid_out(rows: Sequence[Row], task: str) -> str:
    """Lay out means over seeds with their intervals."""
    lines = []
    for algorithm in ("ppo", "trpo"):
        for iteration in ITERATIONS:
            own = partial(of, rows, f"{task}-{algorithm}", iteration)
            today, older = own("v5"), own("older")
            cells = [written(values) for values in (today, older, older - today)]
            lines.append([algorithm.upper() if iteration == 0 else "", str(iteration), *cells, beside(task, own)])
    words = ["in v5", "in v4", "difference", "steps of an episode, v5 and v4"]
    if task not in OLDER:
        words = ["as v5 charges", "actions clipped first", "difference", "deviation of actions"]
    return table(["", "iteration", *words], lines)


def beside(task: str, own: Callable[[str], np.ndarray]) -> str:
    """Write what stands beside the returns: how long episodes are, or how wide actions."""
    if task in OLDER:
        return " and ".join(f"{np.mean(own(f'{way}_steps')):,.0f}" for way in ("v5", "older"))
    return f"{np.mean(own('deviation')):.2f}"


def trained(rows: Sequence[Row]) -> str:
    """Lay out how Humanoid's agents of both atlases compare: return where actions are clipped, and their deviation."""
    lines = []
    for algorithm in ("ppo", "trpo"):
        for iteration in ITERATIONS:
            first, second = (partial(of, rows, f"humanoid-{algorithm}{end}", iteration) for end in ("", "-v2"))
            if not (first("older").size and second("older").size):
                continue
            line = [algorithm.upper() if iteration == 0 else "", str(iteration)]
            for name, digits in (("older", 0), ("deviation", 2)):
                both = first(name), second(name)
                line += [f"{values.mean():,.{digits}f}" for values in both] + [gained(*both, digits)]
            lines.append(line)
    head = ["", "iteration", "return of the first's", "of the second's", "difference"]
    return table([*head, "deviation of the first's actions", "of the second's", "difference"], lines)


def written(values: np.ndarray) -> str:
    """Write the mean over seeds with its 95% interval, Student's t."""
    mean, low, high = (float(end[0]) for end in mean_with_interval(values[:, None]))
    return f"{mean:,.0f} ({low:,.0f} to {high:,.0f})"


def main() -> int:
    """Measure what is asked for, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shown = [name for name in ENTRIES if name.startswith("humanoid") or not name.endswith("-v2")]
    parser.add_argument("--measure", nargs="+", choices=shown, default=[], metavar="COLUMN")
    rows = json.loads(STORED.read_text())
    for column in parser.parse_args().measure:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # v4 is called old, which it is
            try:
                rows = [row for row in rows if row["column"] != column] + measure(column)
            except InputError as error:  # agents that are not kept
                parser.error(str(error))
        STORED.write_text(json.dumps(rows, indent=0) + "\n")
    page = PAGE.read_text()
    for task in STEPS:
        page = replaced(page, task, laid_out(rows, task))
    page = replaced(page, "humanoid trained", trained(rows))
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
