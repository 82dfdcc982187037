"""A diagnostic in one folder: how long are episodes? Nothing else in the package knows of it.

The mean length of finished episodes, from streams that finish their last one: total length over total episodes, with
Student's t over streams on the ratio's residuals.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from closerlook.agents.agent import Agent
from closerlook.diagnostics.diagnostic import Cost, Diagnostic, Narrowing
from closerlook.diagnostics.options import BaseOptions, option
from closerlook.results.variables import interval
from closerlook.simulation.rollout import rollout

JOB_STREAMS = 4


def sample_lengths(agent, environment, sampling, streams):
    """Answer with the steps and episodes of each stream (S,)."""
    numbers = range(streams.first, streams.stop)
    sampled = rollout(
        Agent.stack([agent]), environment, sampling, seeds=[streams.seed], purpose=streams.purpose, streams=numbers
    )
    ends = (sampled.terminated | sampled.truncated)[0]
    last = np.array([row.nonzero()[0][-1] + 1 if row.any() else 0 for row in ends])
    return {"steps": last.astype(float), "episodes": ends.sum(axis=1).astype(float)}


@dataclass(frozen=True, kw_only=True)
class Options(BaseOptions):
    """What may be asked of episode lengths."""

    pairs: int = option(10_000, "State-action pairs sampled of each agent.", least=2)


@dataclass(frozen=True)
class Plan:
    """Streams of each agent."""

    options: Options
    streams: int
    n_steps: int


def shrink(plan, pairs):
    """Fewer streams of the same."""
    return Plan(plan.options, max(1, -(-pairs // plan.n_steps)), plan.n_steps)


class EpisodeLength(Diagnostic):
    """Measure how long episodes are."""

    name = "episode-length"
    line = "how long are episodes?"
    Options = Options
    variables = interval(
        "episode_length",
        ("agent",),
        ("Mean length of episodes that finish within their stream.", "Student's t over streams."),
        "steps",
    )
    narrowing = Narrowing(
        option="pairs",
        interval="the mean length",
        first=lambda subjects, _: (8 * subjects[0].regime.n_steps, JOB_STREAMS * subjects[0].regime.n_steps),
        shrink=shrink,
        half_width=lambda dataset, _: float(
            np.max((dataset["episode_length_high"] - dataset["episode_length_low"]).values) / 2
        ),
    )

    def plan(self, subjects, options):
        """Count streams."""
        return shrink(Plan(options, 1, subjects[0].regime.n_steps), options.pairs)

    def cost(self, subject, plan):
        """Count pairs."""
        return Cost(plan.streams * plan.n_steps, plan.streams * plan.n_steps)

    def measure(self, subject, plan):
        """One stage: some streams to a job."""
        parts = [(at, min(at + JOB_STREAMS, plan.streams)) for at in range(0, plan.streams, JOB_STREAMS)]
        answers = yield [
            subject.job(
                "lengths",
                sample_lengths,
                (stop - first) * plan.n_steps,
                {"sampling": subject.sampling, "streams": subject.streams("lengths", first, stop)},
            )
            for first, stop in parts
        ]
        steps, episodes = (np.concatenate([answer[name] for answer in answers]) for name in ("steps", "episodes"))
        mean = steps.sum() / episodes.sum() if episodes.sum() else np.nan
        error = np.std(steps - mean * episodes, ddof=1) / np.sqrt(len(steps)) / episodes.mean()
        reach = stats.t.ppf(0.975, len(steps) - 1) * error
        ends = {"": mean, "_low": mean - reach, "_high": mean + reach}
        return {f"episode_length{end}": np.array(value) for end, value in ends.items()}

    def judge(self, dataset, shortest=2.0):
        """A verdict like any other's."""
        low = float(np.min(dataset["episode_length_low"].values))
        level = "ok" if low >= shortest else "watch"
        statement = f"episodes last {low:.1f} steps at least"
        return [
            {"area": "episodes", "level": level, "statement": statement, "evidence": {"low": low}, "advice": "Look."}
        ]


DIAGNOSTIC = EpisodeLength()
