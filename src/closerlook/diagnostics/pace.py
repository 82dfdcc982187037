"""How fast streams of an agent step, few together and many, and how often its episodes end: found by a short trial."""

from collections.abc import Sequence

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.diagnostics.subjects import Subject
from closerlook.simulation.metering import Clock, Meter, Pace, metered
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout

PURPOSE = "trial"
SHARE = 0.1
"""Of what the declared pairs take, that each of the two trials may take at most."""
GROWTH = 2
"""A trial is not made longer where there is not time for so many times what the last took."""
FASTEST_GROWTH = 16
FEW_LANES = 4
FEW_SHARE = 0.6
"""Of the time, that the trial on few lanes may take."""
LONGEST = 1000
"""Steps of a stream, at most: those of most episodes."""
UNSEEN_ENDS = 0.25
"""Ends of episodes that are counted beside those that were seen: that there were none does not say there are none."""
USUAL_ENDS = 4
"""Episodes that the usual spread of their lengths counts for."""


def find_pace(subject: Subject, lanes: int, work: float, seconds: float, clock: Clock) -> Pace:
    """Find how fast streams of an agent step, few together and many, and how often their episodes end.

    Parameters
    ----------
    subject : Subject
        Whose agent.
    lanes : int
        Streams that step together in a measurement.
    work : float
        Pairs of it: the trial takes a small share of their time.
    seconds : float
        It may take, about.
    clock : callable
        Seconds.
    """
    few = _longest_within(subject, FEW_LANES, work, FEW_SHARE * seconds, clock)
    many = _longest_within(subject, lanes, work, (1 - FEW_SHARE) * seconds, clock)
    first, second = few.rollouts[0], many.rollouts[0]
    # all streams begin at a reset: short ones, as many lanes have, are over before an episode of usual length is
    hazard = (len(few.lengths) + UNSEEN_ENDS) / first.steps
    return Pace.of(first, second, hazard, spread_of(few.lengths))


def spread_of(lengths: Sequence[int]) -> float:
    """Return the variance of episodes' lengths over the square of their mean, nearer to 1 the fewer they are.

    Parameters
    ----------
    lengths : sequence of int
        Steps of episodes that ended.
    """
    # (n c^2 + k) / (n + k): 1, as where every step is as likely the last one, counts as k episodes
    count = len(lengths)
    seen = count * float(np.var(lengths) / np.mean(lengths) ** 2) if count else 0.0
    return (seen + USUAL_ENDS) / (count + USUAL_ENDS)


def _longest_within(subject: Subject, lanes: int, work: float, seconds: float, clock: Clock) -> Meter:
    """Measure streams that are longer each time, as long as that takes little."""
    agents, steps, begun = Agent.stack([subject.agent]), 1, clock()
    while True:
        meter = Meter(clock)
        with metered(meter):
            rollout(
                agents,
                subject.environment,
                Sampling(steps),
                seeds=[subject.seed],
                purpose=PURPOSE,
                streams=range(lanes),
                lanes=lanes,
            )
        of_step = meter.seconds / (steps * lanes)
        left = min(seconds, SHARE * work * of_step) - (clock() - begun)
        if steps == LONGEST or left < GROWTH * meter.seconds:
            return meter
        steps = int(min(LONGEST, FASTEST_GROWTH * steps, left / (of_step * lanes)))
