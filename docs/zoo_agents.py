"""Inspect the trained agents of the RL Zoo, and write what was found to docs/data/zoo_agents.json and its page.

The agents are others' and are not in this repository. Fetch them, then::

    git clone https://github.com/DLR-RM/rl-trained-agents
    python docs/zoo_agents.py rl-trained-agents

What is in the JSON already is not measured again; delete it to begin anew. Without a folder, only the page is written.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import closerlook as cl
from closerlook.errors import InputError
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

{count}

| agent | measured on | found | recorded | random | identity | why not the same |
|---|---|---|---|---|---|---|
"""


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


def page(record: dict[str, Any]) -> str:
    """Write the page."""
    counts = Counter(found["identity"] for found in record.values())
    words = ", ".join(f"{number} {identity}" for identity, number in sorted(counts.items()))
    start = START.format(episodes=EPISODES, count=f"Of {len(record)} agents: {words}.")
    return start + "\n".join(row(name, found) for name, found in sorted(record.items())) + "\n"


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
