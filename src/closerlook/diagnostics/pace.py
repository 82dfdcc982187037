"""How fast streams of an agent step, few together and many, and how often its episodes end: found by a short trial."""

from closerlook.agents.agent import Agent
from closerlook.diagnostics.subjects import Subject
from closerlook.simulation.metering import Clock, Meter, Pace, metered
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout

PURPOSE = "trial"
SHARE = 0.1
"""Of what the declared pairs take, that each of the two trials may take at most."""
GROWTH = 4
"""A trial is not made longer where there is not time for so many times what the last took."""
FASTEST_GROWTH = 16
FEW_LANES = 4
FEW_SHARE = 0.6
"""Of the time, that the trial on few lanes may take."""
LONGEST = 1000
"""Steps of a stream, at most: those of most episodes."""
UNSEEN_ENDS = 0.25
"""Ends of episodes that are counted beside those that were seen: that there were none does not say there are none."""


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
    ends = few.ends + many.ends + UNSEEN_ENDS
    first, second = few.rollouts[0], many.rollouts[0]
    return Pace.of(first, second, ends / (first.steps + second.steps))


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
