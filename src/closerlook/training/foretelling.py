"""What training takes, told before it from short iterations of its agents: real environments, networks and updates.

The trial has draws of its own, and nothing of it is kept: no agent depends on it.
"""

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.execution import hands
from closerlook.randomness import derive_seed
from closerlook.training.plan import Plan
from closerlook.training.segment import train_segment

TINY = 8192
"""Pairs of one agent below which nothing is tried."""
SMALL_PAIRS, GROWTH = 256, 4
"""Pairs of all agents that the first iterations are tried on, about, and how many times that the last is."""
SECONDS = 1.0
"""Of all of the trial, about."""


def foretell(plan: Plan, agents: Sequence[Agent], clock: Callable[[], float] = time.perf_counter) -> float | None:
    """Return the seconds that what a plan has still to train takes, about.

    Parameters
    ----------
    plan : Plan
        Of the run.
    agents : sequence of Agent
        Before any update.
    clock : callable
        Seconds, or what a test says.

    Returns
    -------
    float or None
        None where that is tiny, or an iteration cannot be tried.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _foretell(plan, agents, clock)
    except Exception:  # whatever fails here fails again where agents are trained, and is told there
        return None


def _foretell(plan: Plan, agents: Sequence[Agent], clock: Callable[[], float]) -> float | None:
    pieces = [[chunk.size for chunk in np.array_split(missing, plan.workers) if chunk.size] for missing in plan.work]
    most = max((size for sizes in pieces for size in sizes), default=0)
    iterations = sum(last - first for (first, last), sizes in zip(plan.segments, pieces, strict=True) if sizes)
    if iterations * most * plan.settings.regime.batch_pairs < TINY:
        return None
    fixed, of_agent = _of_iteration(plan, agents[:most], clock)
    whole = 0.0
    for (first, last), sizes in zip(plan.segments, pieces, strict=True):
        each = [fixed + size * of_agent for size in sizes]
        whole += (last - first) * max([sum(each) / hands(plan.workers), *each])
    return whole


def _of_iteration(plan: Plan, agents: Sequence[Agent], clock: Callable[[], float]) -> tuple[float, float]:
    """Return the seconds of an iteration that do not depend on the number of agents, and those of each agent.

    Two short iterations tell what grows with the steps, and what every update takes: seconds = fixed + steps of_step.
    """
    wanted, lanes = plan.settings.n_steps, plan.settings.n_envs * len(agents)
    few = min(wanted, max(1, SMALL_PAIRS // lanes))
    begun, short = clock(), _iteration(plan, agents, few, clock)
    if short < SECONDS / 4:  # the first call of anything takes longer
        short = _iteration(plan, agents, few, clock)
    many = min(wanted, GROWTH * few)
    if many == few or clock() - begun + GROWTH * short > GROWTH * SECONDS:
        return 0.0, short * wanted / few / len(agents)
    long = _iteration(plan, agents, many, clock)
    of_step = min(max(0.0, (long - short) / (many - few)), long / many)
    return long - of_step * many, of_step * wanted / len(agents)


def _iteration(plan: Plan, agents: Sequence[Agent], steps: int, clock: Callable[[], float]) -> float:
    """Return the seconds of an iteration of so many steps in each environment."""
    settings = replace(plan.settings, n_steps=steps)
    seeds = [derive_seed(settings.seed, "trial", stream=number) for number in range(len(agents))]
    begun = clock()
    train_segment(Agent.stack(list(agents)), settings, seeds, 0, 1, copy.deepcopy(plan.callbacks))
    return clock() - begun
