"""Inspect the trained agents of the RL Zoo, and write what was found to docs/data/zoo_agents.json and its page.

The agents are others' and are not in this repository. Fetch them, then::

    git clone https://github.com/DLR-RM/rl-trained-agents
    python docs/zoo_agents.py rl-trained-agents

What is in the JSON already is not measured again; delete it to begin anew. Without a folder, only the page is written.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import closerlook as cl
from closerlook.errors import InputError
from closerlook.inspection.inspect import Limits
from closerlook.results.store import as_json

HERE = Path(__file__).parent
RECORD, PAGE = HERE / "data" / "zoo_agents.json", HERE / "zoo_agents.md"
EPISODES = 20
KEPT = (
    *("identity", "environment", "version", "policy", "episodes", "reasons", "missing", "random_return"),
    *("recorded_return", "recorded_return_low", "recorded_return_high", "recorded_acting", "recorded_source"),
    *("sampled_return", "sampled_return_low", "sampled_return_high", "mode_return", "share_clipped"),
)
START = """\
# Agents that others trained

Agents of the RL Zoo's [rl-trained-agents](https://github.com/DLR-RM/rl-trained-agents) that PPO, A2C and TRPO
trained, without Bullet's and Atari's: read from their files as they are, and compared with what was recorded in their
training. Found and recorded are mean returns with 95% intervals, of {episodes} complete episodes with drawn actions and
of the last episodes of training at one level; where the record is an evaluation's, both are of the likeliest actions.
Written by `docs/zoo_agents.py`.

{count} Their files were written by Stable-Baselines3
{versions}.

| agent | measured on | found | recorded | random | identity | why not the same |
|---|---|---|---|---|---|---|
"""

HELD_OUT = """
## Limits, and agents that did not set them

An agent is unlike where its return differs from the recorded one, less the interval of the difference, by more than
{difference:g} of what the recorded one earned above random actions, or where more than {clipped:g} of its
standardized observations are at their bounds. Both limits were set with these agents in sight, so that the counts
above do not show that they hold for others. (The other limits are of numbers that this page's data do not hold.)

So the agents are taken in turn, by name: one half chooses limits, the other is judged by them. An error is an agent
that is unlike its own record, or not unlike that of another algorithm's agent in the same environment, where
the two records differ by at least half of what is earned. Chosen is, among {grid}, the limit of differences with the
fewest errors, the middle one of equals; and among {shares}, the smallest share of observations at bounds
that is above all of the half. Ant is left out, of which no version here is known to move as v3 did, and so are agents
that were still learning when their returns were recorded.

| chosen by | limit of returns | of the others unlike their own record | like another's | limit of bounds | beyond it |
|---|---|---|---|---|---|
"""
GRID = tuple(step / 20 for step in range(1, 16))
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)


def agents_of(folder: Path) -> list[Path]:
    """Return the models that the zoo names after their environment."""
    found = [path for algorithm in ("a2c", "ppo", "trpo") for path in sorted((folder / algorithm).glob("*/*.zip"))]
    return [path for path in found if path.parent.name.startswith(path.stem) and not _is_left_out(path.stem)]


def _is_left_out(name: str) -> bool:
    return "Bullet" in name or "NoFrameskip" in name or "MiniGrid" in name


def measure(path: Path) -> dict[str, Any]:
    """Inspect one agent; of one that cannot be run, why."""
    try:
        agent = cl.load(path, anyway=True)
        assert isinstance(agent, cl.Agent)
        found = as_json(cl.inspect(agent, episodes=EPISODES).to_json())
    except InputError as error:
        return {"identity": "not run", "reasons": [error.what]}
    return {name: found[name] for name in KEPT}


def interval(found: dict[str, Any], name: str) -> str:
    """Write a mean return with its interval."""
    value, low, high = (found.get(f"{name}_return{end}") for end in ("", "_low", "_high"))
    if value is None:
        return "-"
    return f"{value:,.0f} ± {(high - low) / 2:,.0f}" if low is not None and high is not None else f"{value:,.0f}"


def row(name: str, found: dict[str, Any]) -> str:
    """Write one agent's line."""
    acting = "mode" if found.get("recorded_acting") == "mode" else "sampled"
    random = found.get("random_return")
    cells = [
        name,
        found.get("environment", "-"),
        interval(found, acting),
        interval(found, "recorded"),
        "-" if random is None else f"{random:,.0f}",
        found["identity"],
        "" if found["identity"] == "same" else "; ".join(found["reasons"]),
    ]
    return f"| {' | '.join(cells)} |"


def distance(found: dict[str, Any], recorded: dict[str, Any]) -> float:
    """Return by how much an agent's return differs for certain from a record, as a share of what that one earned."""
    acting = "mode" if recorded.get("recorded_acting") == "mode" else "sampled"
    ends = [(found, acting), (recorded, "recorded")]
    (own, own_reach), (its, its_reach) = (
        (of[f"{name}_return"], (of[f"{name}_return_high"] - of[f"{name}_return_low"]) / 2) for of, name in ends
    )
    return float((abs(own - its) - math.hypot(own_reach, its_reach)) / abs(its - recorded["random_return"]))


def is_another(found: dict[str, Any], recorded: dict[str, Any]) -> bool:
    """Whether a record is of an agent that is clearly another, in the same environment."""
    same_place = found["environment"] == recorded["environment"]
    earned = abs(recorded["recorded_return"] - recorded["random_return"])
    comparable = "mode" not in {found["recorded_acting"], recorded["recorded_acting"]}
    return same_place and comparable and abs(found["recorded_return"] - recorded["recorded_return"]) >= earned / 2


def errors(limit: float, own: Sequence[float], others: Sequence[float]) -> tuple[int, int]:
    """Count agents that are unlike their own record, and those that are like another's."""
    return sum(gap > limit for gap in own), sum(gap <= limit for gap in others)


def judged(record: dict[str, Any]) -> list[tuple[list[float], list[float], list[float]]]:
    """Return, for each half: differences from agents' own records, from others', and shares of observations clipped."""
    known = {
        name: found
        for name, found in sorted(record.items())
        if "Ant-" not in name and "still learning" not in "".join(found["reasons"])
    }
    halves = []
    for first in (0, 1):
        own = list(known.values())[first::2]
        others = [distance(one, other) for one in own for other in known.values() if is_another(one, other)]
        clipped = [found["share_clipped"] for found in own if found["share_clipped"] is not None]
        halves.append(([distance(one, one) for one in own], others, clipped))
    return halves


def held_out(record: dict[str, Any]) -> str:
    """Choose limits on one half of the agents, and judge the other by them."""
    limits, rows = Limits(), []
    halves = judged(record)
    for name, (own, others, clipped), (their, theirs, beyond) in (
        ("the first, third, ...", *halves),
        ("the second, fourth, ...", *reversed(halves)),
    ):
        counts = {limit: sum(errors(limit, own, others)) for limit in GRID}
        best = [limit for limit in GRID if counts[limit] == min(counts.values())]
        chosen, share = best[len(best) // 2], next(one for one in SHARES if max(clipped) < one)
        unlike, like = errors(chosen, their, theirs)
        over = sum(one > share for one in beyond)
        rows.append(
            f"| {name} | {chosen:g} (of {min(best):g} to {max(best):g}) | {unlike} of {len(their)} "
            f"| {like} of {len(theirs)} | {share:g} | {over} of {len(beyond)} |"
        )
    own, others = ([gap for half in halves for gap in half[at]] for at in (0, 1))
    unlike, like = errors(limits.difference, own, others)
    shares = [one for half in halves for one in half[2]]
    over = sum(one > limits.clipped for one in shares)
    rows.append(
        f"| (those that are used, of all) | {limits.difference:g} | {unlike} of {len(own)} "
        f"| {like} of {len(others)} | {limits.clipped:g} | {over} of {len(shares)} |"
    )
    start = HELD_OUT.format(
        difference=limits.difference,
        clipped=limits.clipped,
        grid=f"{GRID[0]:g}, {GRID[1]:g}, ... {GRID[-1]:g}",
        shares=", ".join(f"{share:g}" for share in SHARES),
    )
    return start + "\n".join(rows) + "\n"


def page(record: dict[str, Any]) -> str:
    """Write the page."""
    counts = Counter(found["identity"] for found in record.values())
    words = ", ".join(f"{number} {identity}" for identity, number in sorted(counts.items()))
    written = Counter(found["version"] for found in record.values() if "version" in found)
    start = START.format(
        episodes=EPISODES,
        count=f"Of {len(record)} agents: {words}.",
        versions=", ".join(f"{version} ({number})" for version, number in sorted(written.items())),
    )
    table = "\n".join(row(name, found) for name, found in sorted(record.items())) + "\n"
    return start + table + held_out(record)


def main() -> None:
    """Measure what is not there yet, and write the page."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for path in agents_of(Path(sys.argv[1])) if len(sys.argv) > 1 else []:
        name = f"{path.parent.parent.name}/{path.stem}"
        if name not in record:
            record[name] = measure(path)
            RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
            sys.stderr.write(f"{name}: {record[name]['identity']}\n")
    PAGE.write_text(page(record))


if __name__ == "__main__":
    main()
