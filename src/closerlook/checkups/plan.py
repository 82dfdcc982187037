"""A budget as a plan: minutes become pairs once, by a trial; after that nothing depends on the clock.

====== ==========================================================
symbol meaning
====== ==========================================================
unit   an episode of each kind of actions, a stream, or an update
look   a size of a pool at which checks are judged
====== ==========================================================
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from closerlook.checkups.limits import EXACT, Limit

LOOKS = 6
"""Sizes of a pool, each twice the one before."""
ERROR = 0.05
"""Probability that any interval of any look misses what it is of."""
USED = 0.7
"""Part of the time that is planned with: workers start, and jobs end at different times."""
POOLS = ("episodes", "streams", "updates")
EPISODES = 4.0
"""Times the trial's mean length that an episode is planned to last at most, and that streams may begin within."""
STREAM = 256
SHORT_STREAM = 64
LONGEST_EPISODE = 2000
"""Steps at which an episode that may never end is broken off."""
PARTS: Mapping[str, float] = {"episodes": 0.5, "streams": 0.6, "updates": 1.0}
"""Part of what is left of the budget that the first look of a pool may take, in this order."""


@dataclass(frozen=True)
class Pool:
    """How one pool is sampled.

    Parameters
    ----------
    units : int
        Of its first look; each further one doubles it.
    pairs : float
        That a unit takes, in pairs of the environment; an update's computation is counted in pairs too.
    steps : int
        Of a stream; 0 for other units.
    burn_in, continuation : int
        Of a stream; see `closerlook.simulation.records.Sampling`.
    """

    units: int
    pairs: float
    steps: int = 0
    burn_in: int = 0
    continuation: int = 0

    def at(self, look: int) -> int:
        """Return the pool's units at a look."""
        return int(self.units * 2**look)


@dataclass(frozen=True)
class Plan:
    """What a checkup may spend, and how.

    Parameters
    ----------
    pairs : float
        In all.
    pools : mapping of str to Pool
        Those that fit.
    reasons : mapping of str to str
        Why the others are left out.
    confidence : float
        Of each interval, so that all of them hold together with 95%.
    """

    pairs: float
    pools: Mapping[str, Pool]
    reasons: Mapping[str, str]
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for ``run.json``."""
        return asdict(self)

    @staticmethod
    def from_json(said: Mapping[str, Any]) -> "Plan":
        """Read what `to_json` wrote."""
        pools = {name: Pool(**pool) for name, pool in said["pools"].items()}
        return Plan(float(said["pairs"]), pools, dict(said["reasons"]), float(said["confidence"]))


@dataclass(frozen=True)
class Trial:
    """What a trial found: the only place where the clock is read.

    Parameters
    ----------
    seconds_per_pair : float
        Of one worker.
    update_seconds : float or None
        Of one update and its audit, sampling included; None where none could be tried in time.
    update_pairs : float
        That an update samples.
    episode_length : float or None
        Of the trial's steps, per episode that ended; None where none did.
    """

    seconds_per_pair: float
    update_seconds: float | None
    update_pairs: float
    episode_length: float | None = None


def make_plan(
    minutes: float,
    workers: int,
    trial: Trial,
    *,
    time_limit: int | None,
    continuation: int | None,
    limits: Mapping[str, Limit],
) -> Plan:
    """Turn minutes into sizes of pools.

    Parameters
    ----------
    minutes : float
        The budget.
    workers : int
        Processes that share it.
    trial : Trial
        How fast this environment is here.
    time_limit : int or None
        Of an episode.
    continuation : int or None
        Steps until a discounted return is complete; None where it never is.
    limits : mapping of str to Limit
        Whose number shares the probability of an error.
    """
    # pairs = seconds of all workers that are used, over seconds of a pair
    total = 60 * minutes * workers * USED / trial.seconds_per_pair
    # episodes are as long as the time limit, or some times those that the trial saw end
    length = min(time_limit or LONGEST_EPISODE, EPISODES * (trial.episode_length or LONGEST_EPISODE))
    ways = {
        "episodes": [Pool(units, 3 * length) for units in (16, 8)],
        "streams": _streams(int(length), continuation),
        "updates": [],
    }
    reasons: dict[str, str] = {}
    if trial.update_seconds is not None:
        ways["updates"] = [Pool(units, trial.update_seconds / trial.seconds_per_pair) for units in (8, 6)]
    else:
        reasons["updates"] = _too_slow("the batch of one update", trial.update_pairs / total * minutes, minutes)
    pools: dict[str, Pool] = {}
    left = total
    for name, own in ways.items():
        # the largest way that leaves the others their part; what is left over goes to the next pool
        fitting = next((pool for pool in own if pool.units * pool.pairs <= PARTS[name] * left), None)
        if fitting is not None:
            pools[name] = fitting
            left -= fitting.units * fitting.pairs
        elif own:
            reasons[name] = _too_slow(name, own[-1].units * own[-1].pairs / total * minutes, minutes)
    # Bonferroni over numbers and looks: all intervals hold together with probability 1 - ERROR or more
    confidence = 1 - ERROR / (len(set(limits) - EXACT) * LOOKS)
    return Plan(float(f"{total:.3g}"), pools, reasons, confidence)


def _streams(length: int, continuation: int | None) -> list[Pool]:
    """List ways to sample streams, the best first; without a continuation nothing is said of critics."""
    beyond = 0 if continuation is None else continuation
    # streams begin anywhere in an episode: each lets a random number of steps pass, half of the longest on average
    burn_in = min(length, 1000)
    cost = burn_in / 2 + beyond
    found = [Pool(units, cost + STREAM, STREAM, burn_in, beyond) for units in (16, 8)]
    found.append(Pool(8, cost + SHORT_STREAM, SHORT_STREAM, burn_in, beyond))
    return [*found, Pool(8, float(SHORT_STREAM), SHORT_STREAM)]


def _too_slow(name: str, needed: float, minutes: float) -> str:
    return f"{name} would take {_minutes(needed)}, too much of the {minutes:g} asked for (--minutes)"


def _minutes(minutes: float) -> str:
    if minutes < 1:
        return f"{60 * minutes:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"


def next_look(plan: Plan, looks: Mapping[str, int], open_pools: set[str], spent: Mapping[str, float]) -> dict[str, int]:
    """Return which pools go on to their next look: those that a verdict is open for, while the budget lasts.

    Parameters
    ----------
    plan : Plan
        The plan.
    looks : mapping of str to int
        The last look of each pool; of those that are not sampled yet, none.
    open_pools : set of str
        What would narrow an interval that is open.
    spent : mapping of str to float
        Pairs of each pool so far; to double it costs as much again.
    """
    going: dict[str, int] = {}
    total = sum(spent.values())
    for name in POOLS:
        if name not in plan.pools:
            continue
        look = looks.get(name, -1)
        if look < 0:
            going[name] = 0
        elif name in open_pools and look + 1 < LOOKS and total + spent[name] <= plan.pairs:
            going[name] = look + 1
            total += spent[name]
    return going
