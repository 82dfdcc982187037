"""What a measurement of gradients costs as its pool grows: processor time for each pair, and memory.

Each size is measured in a process of its own, from the agent to `gradients.nc`; counted is its processor time, workers
included. What a pool costs whatever its size (start-up, the streams that are squared, jobs too short to step many
streams together) makes small ones dear: printed for each pool is the cost of a pair, that of a tiny pool taken off; and
from pool to pool the cost of a further pair, which such costs do not touch. Where it stays as it is, cost is linear.
One number of pairs stands for itself, a tenth and a hundredth of it. Goals: the cost of a further pair between the two
largest pools within 10% of that between the two smallest, and less than 2 GB of memory in any process.

    python benchmarks/pool.py
    python benchmarks/pool.py --agent atlas/humanoid-ppo-v2 --pairs 1e5 1e6 1e7 --rounds 1
"""

import argparse
import json
import resource
import subprocess
import sys
from tempfile import TemporaryDirectory

import numpy as np

from closerlook.diagnostics.gradients import gradient_quality
from closerlook.execution import close_pool
from gradients import find_agent

TINY = 2048 * 16
GOAL_GROWTH, GOAL_BYTES = 1.10, 2e9


def measure_here(agent: str, iteration: int, pairs: int) -> None:
    with TemporaryDirectory() as folder:
        gradient_quality(find_agent(agent, iteration), pairs=pairs, out=folder)
    close_pool()  # the time of children counts once they have ended
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    print(json.dumps({"seconds": seconds, "bytes": max(usage.ru_maxrss for usage in usages) * 1024}))


def measured(agent: str, iteration: int, pairs: int) -> tuple[float, float]:
    """Measure in a process of its own: processor seconds, and the most memory of a process."""
    command = [sys.executable, __file__, "--agent", agent, "--iteration", str(iteration), "--here", str(pairs)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return found["seconds"], found["bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="Hopper-v5", help="a run folder, or the task of a fresh agent")
    parser.add_argument("--iteration", type=int, default=450)
    parser.add_argument("--pairs", nargs="+", type=float, default=(1e5, 3e5, 1e6))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--here", type=int)
    chosen = parser.parse_args()
    if chosen.here:
        measure_here(chosen.agent, chosen.iteration, chosen.here)
        return
    pools = chosen.pairs if len(chosen.pairs) > 1 else [chosen.pairs[0] / part for part in (100, 10, 1)]
    if min(pools) <= TINY:
        parser.error(f"pools of more than {TINY:,} pairs can be told from start-up")
    costs: dict[int, list[float]] = {int(pairs): [] for pairs in (TINY, *sorted(pools))}
    memory = dict.fromkeys(costs, 0.0)
    for _ in range(chosen.rounds):
        for pairs, found in costs.items():
            seconds, needed = measured(chosen.agent, chosen.iteration, pairs)
            memory[pairs] = max(memory[pairs], needed)
            found.append(seconds)
    report(chosen.agent, costs, memory)


def report(agent: str, costs: dict[int, list[float]], memory: dict[int, float]) -> None:
    seconds = np.array(list(costs.values()))  # (pools, rounds), the tiny one first
    pairs = np.array(list(costs))
    for pool, found in zip(pairs[1:], (seconds[1:] - seconds[0]) / (pairs[1:] - TINY)[:, None], strict=True):
        print(f"{agent} {pool:>12,} pairs: {1e6 * np.median(found):6.1f} us a pair, {memory[pool] / 1e6:,.0f} MB")
    further = np.diff(seconds[1:], axis=0) / np.diff(pairs[1:])[:, None]
    for before, after, found in zip(pairs[1:-1], pairs[2:], further, strict=True):
        print(f"from {before:,} to {after:,}: {1e6 * np.median(found):6.1f} us a further pair")
    growth = float(np.median(further[-1] / further[0]))
    within = 2 - GOAL_GROWTH <= growth <= GOAL_GROWTH
    print(
        f"a further pair, last to first: {growth:.3f}  (goal within 10%: {within if len(further) > 1 else 'not told'})"
    )
    print(f"memory at {pairs[-1]:,}: goal below 2 GB: {memory[pairs[-1]] < GOAL_BYTES}", flush=True)


if __name__ == "__main__":
    main()
