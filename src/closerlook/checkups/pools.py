"""What a checkup samples: pools of episodes, streams and updates, which grow from look to look."""

import time
from collections.abc import Iterator

from closerlook.algorithms.rules import Rule, has_own_rule, rule_of
from closerlook.checkups.numbers import MULTIPLES
from closerlook.checkups.plan import LONGEST_EPISODE, POOLS, Plan, Trial
from closerlook.checkups.sampling import KINDS, sample_episodes, sample_streams, sample_update
from closerlook.diagnostics.subjects import Subject
from closerlook.errors import NonFiniteError
from closerlook.execution import Job, Progress, Result, Silence, Within, run_jobs
from closerlook.results.store import RunFolder
from closerlook.simulation.records import Sampling

VERSION = 2
"""Raised whenever the same job would answer otherwise."""
PURPOSE = "checkup"
_EPISODES_A_JOB, _STREAMS_A_JOB = 16, 4
_TRIAL_STREAMS, _TRIAL_STEPS = 2, 16
_SLOW_UPDATE = 0.25
"""Part of the budget above which not even one update's batch is sampled."""


class Pools:
    """What was sampled so far.

    Parameters
    ----------
    subject : Subject
        Whose.
    workers : int
        Processes.
    folder : RunFolder or None
        Keeps answers of finished jobs.
    """

    progress: Progress = Silence()
    """Told of the work, in the plan's pairs, stage by stage."""

    def __init__(self, subject: Subject, workers: int, folder: RunFolder | None) -> None:
        self.subject, self._workers = subject, workers
        self._cache = None if folder is None else folder.jobs()
        self.rule: Rule | None = rule_of(subject.agent) if has_own_rule(subject.agent) else None
        self.answers: dict[str, list[Result]] = {name: [] for name in (*POOLS, *KINDS)}
        self.looks: dict[str, int] = {}
        self.spent: dict[str, float] = dict.fromkeys(POOLS, 0.0)
        self.failed: dict[str, str] = {}
        self.non_finite = ""
        self._first_update: Result | None = None

    def trial(self, minutes: float) -> Trial:
        """Find out how fast this environment is, with few steps; then try one update, which is kept."""
        subject, streams = self.subject, self.subject.streams(f"{PURPOSE} trial", 0, _TRIAL_STREAMS)
        # draws of their own: what is measured later has nothing to do with the trial
        few = {"sampling": Sampling(_TRIAL_STEPS), "streams": streams}
        seconds, length = _timed(subject.job("trial", sample_streams, 0, few), _TRIAL_STREAMS * _TRIAL_STEPS)
        more = int(min(2000, max(0.0, 1.0 / seconds)))  # of a fast environment, most of that was its start
        if more > 4 * _TRIAL_STEPS:
            many = {**few, "sampling": Sampling(more)}
            seconds, length = _timed(subject.job("trial", sample_streams, 0, many), _TRIAL_STREAMS * more)
        pairs = self.update_pairs
        # an update that would take most of the budget is not tried: what is said of updates stays open then, with the
        # reason
        if self.rule is None or pairs * seconds > _SLOW_UPDATE * 60 * minutes:
            return Trial(seconds, None, pairs, length)
        begun = time.perf_counter()
        self._first_update = self._update_job(0).run()
        return Trial(seconds, time.perf_counter() - begun, pairs, length)

    @property
    def update_pairs(self) -> float:
        """Pairs that one update and its audit sample: unscored starts of streams among them."""
        streams = self.subject.regime.n_envs + self._heldout
        return streams * (self.subject.regime.n_steps + self.subject.sampling.burn_in / 2)

    @property
    def _heldout(self) -> int:
        """Streams of held-out states: as many pairs as a batch, or a few hundred."""
        regime = self.subject.regime
        return max(regime.n_envs, min(16, -(-512 // regime.n_steps)))

    def extend(self, name: str, plan: Plan, look: int) -> None:
        """Bring a pool to the size of a look.

        Parameters
        ----------
        name : str
            Of the pool.
        plan : Plan
            Its sizes.
        look : int
            Which look.
        """
        pool, before = plan.pools[name], self.looks.get(name, -1)
        # a look goes on where the last one ended: nothing is sampled twice, and pools grow by the same streams in any
        # order
        first, stop = (pool.at(before) if before >= 0 else 0), pool.at(look)
        foretold = (stop - first) * self._cost(name, plan)
        parts: list[_Part] = []
        try:
            if name == "episodes":
                for kind in KINDS:
                    jobs = self._episode_jobs(kind, first, stop)
                    self.answers[kind] += self._run(name, jobs, foretold / len(KINDS), parts)
            elif name == "streams":
                self.answers[name] += self._run(name, self._stream_jobs(plan, first, stop), foretold, parts)
            else:
                # the update that the trial took is the first of the pool: it was keyed like it, so that nothing depends
                # on where it ran
                ready = [self._first_update] if first == 0 and self._first_update is not None else []
                jobs = [self._update_job(number) for number in range(first + len(ready), stop)]
                self.answers[name] += [*ready, *self._run(name, jobs, foretold, parts)]
        except NonFiniteError as error:
            self.non_finite, self.failed[name] = error.what, "something sampled was not finite"
        spent = self._cost(name, plan) * stop
        # what episodes cost is known now: what was told of them is put right
        if parts:
            parts[-1].put_right(spent - self.spent[name] - sum(part.told for part in parts))
        self.looks[name], self.spent[name] = look, spent

    def _cost(self, name: str, plan: Plan) -> float:
        """Return the pairs of a unit, episodes by their lengths as far as those are known."""
        # episodes are as long as they are: what they cost is known once some were sampled
        lengths = [one["lengths"].mean() for kind in KINDS for one in self.answers[kind][:1] if one["lengths"].size]
        return float(sum(lengths)) if name == "episodes" and lengths else plan.pools[name].pairs

    def _run(self, name: str, jobs: list[Job], cost: float, parts: list["_Part"]) -> list[Result]:
        parts.append(_Part(self.progress, cost / max(1.0, sum(job.pairs for job in jobs))))
        return run_jobs(jobs, workers=self._workers, cache=self._cache, progress=parts[-1], label=name)

    def _episode_jobs(self, kind: str, first: int, stop: int) -> list[Job]:
        return [
            self.subject.job(
                f"{kind} episodes",
                sample_episodes,
                len(part) * (self.subject.description["time_limit"] or LONGEST_EPISODE),
                {
                    "streams": self.subject.streams(PURPOSE, part.start, part.stop),
                    "acting": kind,
                    "longest": LONGEST_EPISODE,
                },
                named_by=(PURPOSE, VERSION),
            )
            for part in _parts(first, stop, _EPISODES_A_JOB)
        ]

    def _stream_jobs(self, plan: Plan, first: int, stop: int) -> list[Job]:
        pool = plan.pools["streams"]
        sampling = Sampling(pool.steps, burn_in=pool.burn_in, continuation_steps=pool.continuation)
        return [
            self.subject.job(
                "streams",
                sample_streams,
                len(part) * pool.pairs,
                {"sampling": sampling, "streams": self.subject.streams(PURPOSE, part.start, part.stop)},
                named_by=(PURPOSE, VERSION),
            )
            for part in _parts(first, stop, _STREAMS_A_JOB)
        ]

    def _update_job(self, number: int) -> Job:
        subject, rule = self.subject, self.rule
        assert rule is not None
        envs, held = subject.regime.n_envs, self._heldout
        return subject.job(
            "update",
            sample_update,
            self.update_pairs,
            {
                "sampling": (subject.sampling, subject.sampling),
                "streams": (
                    subject.streams(f"{PURPOSE} batch", number * envs, (number + 1) * envs),
                    subject.streams(f"{PURPOSE} held out", number * held, (number + 1) * held),
                ),
                "rule": rule,
                "multiples": list(MULTIPLES),
            },
            state="optimizer.policy",
            named_by=(PURPOSE, VERSION),
        )


class _Part(Within):
    """One run of jobs as a stage of the whole checkup, in whole pairs of the plan."""

    def __init__(self, whole: Progress, scale: float) -> None:
        super().__init__(whole)
        self._scale, self._sampled, self.told = scale, False, 0

    def start(self, total_pairs: float, label: str) -> None:
        """Begin a stage."""
        self.whole.start(self._scaled(total_pairs), label)

    def skip(self, pairs: float) -> None:
        """Take away what is stored."""
        self.told += self._scaled(pairs)
        self.whole.skip(self._scaled(pairs))

    def advance(self, pairs: float) -> None:
        """Count what is done."""
        self.told, self._sampled = self.told + self._scaled(pairs), True
        self.whole.advance(self._scaled(pairs))

    def put_right(self, more: float) -> None:
        """Tell of so many more, which may be fewer; what is stored is no work that is left."""
        if self._sampled:
            self.whole.advance(round(more))
        else:
            self.whole.skip(round(more))
            self.whole.start(round(more), "")

    def _scaled(self, pairs: float) -> int:
        return round(pairs * self._scale)


def _timed(job: Job, pairs: int) -> tuple[float, float | None]:
    """Return the seconds a pair takes, and the mean length of the episodes that ended."""
    begun = time.perf_counter()
    found = job.run()
    ends = int((found["terminated"] | found["truncated"]).sum())
    return (time.perf_counter() - begun) / pairs, pairs / ends if ends else None


def _parts(first: int, stop: int, size: int) -> Iterator[range]:
    for start in range(first, stop, size):
        yield range(start, min(start + size, stop))
