"""What a measurement of gradients costs as its pool grows: processor time for each pair, and memory.

Each size is measured in a process of its own. From its processor time, workers included, that of a tiny pool (start-up)
is taken off. Goals: the cost of a pair at the largest pool within 10% of that at the smallest, and less than 2 GB of
memory in any process at 1e7 pairs.

    python benchmarks/pool.py
    python benchmarks/pool.py --task Humanoid-v5 --pairs 1e5 1e6 1e7 --rounds 1
"""

import argparse
import json
import resource
import subprocess
import sys

import numpy as np

from closerlook.diagnostics.gradient_quality import gradient_quality
from closerlook.execution import close_pool
from gradients import make_agent

TINY = 2048 * 16
GOAL_GROWTH, GOAL_BYTES = 1.10, 2e9


def measure_here(task: str, pairs: int) -> None:
    gradient_quality(make_agent(task), pairs=pairs)
    close_pool()  # the time of children counts once they have ended
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    print(json.dumps({"seconds": seconds, "bytes": max(usage.ru_maxrss for usage in usages) * 1024}))


def measured(task: str, pairs: int) -> tuple[float, float]:
    """Measure in a process of its own: processor seconds, and the most memory of a process."""
    command = [sys.executable, __file__, "--task", task, "--here", str(pairs)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return found["seconds"], found["bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="Hopper-v5")
    parser.add_argument("--pairs", nargs="+", type=float, default=(1e5, 1e6))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--here", type=int)
    chosen = parser.parse_args()
    if chosen.here:
        measure_here(chosen.task, chosen.here)
        return
    costs: dict[int, list[float]] = {int(pairs): [] for pairs in chosen.pairs}
    memory: dict[int, float] = {}
    for _ in range(chosen.rounds):
        start, _ = measured(chosen.task, TINY)
        for pairs, found in costs.items():
            seconds, memory[pairs] = measured(chosen.task, pairs)
            found.append((seconds - start) / (pairs - TINY))
    for pairs, found in costs.items():
        print(
            f"{chosen.task} {pairs:>12,} pairs: {1e6 * np.median(found):6.1f} us a pair, {memory[pairs] / 1e6:,.0f} MB"
        )
    smallest, largest = min(costs), max(costs)
    growth = float(np.median(np.array(costs[largest]) / np.array(costs[smallest])))
    within = 2 - GOAL_GROWTH <= growth <= GOAL_GROWTH
    print(f"cost of a pair, {largest:,} to {smallest:,}: {growth:.3f}  (goal within 10%: {within})")
    print(f"memory at {largest:,}: goal below 2 GB: {memory[largest] < GOAL_BYTES}", flush=True)


if __name__ == "__main__":
    main()
