"""Measure what clamped controls change of Humanoid's reward, and write the table of learning.md.

Every Humanoid agent of the first atlas earns its reward twice on the same draws: with its actions as v5 takes them,
which charges for them unclipped, and clipped first, as the engine clamped its controls until MuJoCo 2.2.1.

    python docs/humanoid_reward.py            writes the table from docs/data/humanoid-reward.json
    python docs/humanoid_reward.py --measure  measures first: some minutes
"""

import argparse
import json
import sys
from dataclasses import replace

import numpy as np
from measured import DATA, DOCS, replaced, table

from closerlook.agents.agent import Agent
from closerlook.agents.loading import find_agents
from closerlook.drawing.style import mean_with_interval
from closerlook.measurements.episode_returns import sample_returns
from closerlook.measurements.stream_sums import StreamRange
from closerlook.measurements.surfaces import flat_parameters
from closerlook.randomness import derive_seed
from closerlook.simulation.records import Sampling

PAGE, STORED = DOCS / "learning.md", DATA / "humanoid-reward.json"
ITERATIONS, STREAMS, STEPS = (0, 150, 300, 450), 4, 512
FIGURE_8 = "600 to 1,000"
TRANSFORMS = ("none", "clip")


def mean_return(agent: Agent, transform: str) -> float:
    """Return an agent's mean episode return over episodes that begin in 4 streams of 512 steps."""
    assert agent.environment is not None
    acting = replace(agent, action_transform=transform)
    seed = derive_seed(0, "humanoid reward", stream=agent.agent_seed or 0)
    streams = StreamRange(0, "humanoid reward", 0, STREAMS)
    own = flat_parameters(acting)[None]
    sums = sample_returns(acting, own, agent.environment, Sampling(STEPS), streams, [seed], list_episodes=False)
    return float(sums["returns"].sum() / sums["episodes"].sum())


def measure() -> list[dict[str, object]]:
    """Return each agent's mean return both ways, and the mean deviation of its actions."""
    rows = []
    for algorithm in ("ppo", "trpo"):
        for iteration in ITERATIONS:
            for agent in find_agents(f"atlas/humanoid-{algorithm}", iteration=iteration):
                deviation = float(np.exp(agent.state["policy.log_std"].numpy()).mean())
                returns = {how: mean_return(agent, how) for how in TRANSFORMS}
                place = {"algorithm": algorithm, "iteration": iteration, "seed": agent.agent_seed}
                rows.append({**place, "deviation": deviation, **returns})
                sys.stderr.write(f"{rows[-1]}\n")
    return rows


def laid_out(rows: list[dict[str, float]]) -> str:
    """Lay out means over seeds with their intervals."""
    lines = []
    for algorithm in ("ppo", "trpo"):
        for iteration in ITERATIONS:
            own = [row for row in rows if (row["algorithm"], row["iteration"]) == (algorithm, iteration)]
            columns = [np.array([row[name] for row in own]) for name in TRANSFORMS]
            cells = [written(values) for values in (*columns, columns[1] - columns[0])]
            deviation = f"{np.mean([row['deviation'] for row in own]):.2f}"
            lines.append([algorithm.upper() if iteration == 0 else "", str(iteration), *cells, deviation])
    head = ["", "iteration", "as v5 charges", "actions clipped first", "difference", "deviation of actions"]
    return table(head, lines)


def written(values: np.ndarray) -> str:
    """Write the mean over seeds with its 95% interval, Student's t."""
    mean, low, high = (float(end[0]) for end in mean_with_interval(values[:, None]))
    return f"{mean:,.0f} ({low:,.0f} to {high:,.0f})"


def main() -> int:
    """Measure where that is asked for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    if parser.parse_args().measure:
        STORED.write_text(json.dumps(measure(), indent=0) + "\n")
    PAGE.write_text(replaced(PAGE.read_text(), "humanoid", laid_out(json.loads(STORED.read_text()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
