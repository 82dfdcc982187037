"""The checkup: plan, sample in looks, judge, and stop as soon as nothing is open or the budget is spent.

::

    trial --> plan --> pools of episodes, streams, updates --> numbers --> checks --> answer
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium
import numpy as np

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.loading import load
from closerlook.agents.origin import Recorded
from closerlook.checkups import data, learning, outcome
from closerlook.checkups.answer import Checkup, Finding
from closerlook.checkups.case import Case, pool_of
from closerlook.checkups.choices import returns_of_seeds, seed_numbers
from closerlook.checkups.limits import Limit, load_limits
from closerlook.checkups.numbers import (
    Numbers,
    episode_numbers,
    input_shares,
    input_spreads,
    setting_numbers,
    stream_numbers,
    update_numbers,
)
from closerlook.checkups.plan import POOLS, Plan, make_plan, next_look
from closerlook.checkups.pools import Pools
from closerlook.checkups.sampling import KINDS
from closerlook.diagnostics.subjects import Subject, resolve
from closerlook.errors import InputError, NonFiniteError
from closerlook.execution import Progress, Result, Silence, Whole, content_key, crew_of
from closerlook.execution.threads import single_thread
from closerlook.inspection.evidence import Sight, interval
from closerlook.inspection.inspect import Case as Identity
from closerlook.inspection.inspect import Limits as IdentityLimits
from closerlook.measurements.true_returns import continuation_steps
from closerlook.monitor.batch import Batch
from closerlook.monitor.lint import lint
from closerlook.results.store import RunFolder
from closerlook.statistics.estimates import NOTHING

CHECKS = (
    outcome.check_identity,
    outcome.check_learned,
    outcome.check_solved,
    data.check_inputs,
    data.check_steps,
    data.check_batch,
    data.check_collapsed,
    data.check_wide,
    data.check_saturated,
    data.check_horizon,
    data.check_batch_size,
    learning.check_critic_scale,
    learning.check_critic_useless,
    learning.check_critic_late,
    learning.check_value_share,
    learning.check_too_long,
    learning.check_too_short,
    learning.check_clip,
    learning.check_signal,
    learning.check_gradient,
    learning.check_lambda,
    learning.check_direction,
    learning.check_network,
    outcome.check_more_seeds,
    outcome.check_more_steps,
)
"""By layer."""
_OF_RECORD = (0.05, 0.95)
"""Quantiles of the recorded returns between which an agent's mean return is no sign of another agent."""


@single_thread()
def checkup(
    agent: Agent | str | Path,
    environment: str | EnvironmentSpec | None = None,
    *,
    minutes: float = 10.0,
    batch: Batch | str | Path | None = None,
    **more: Any,
) -> Checkup:
    """Find out what is wrong with an agent, and what to change.

    Parameters
    ----------
    agent : Agent, str or Path
        An agent, or the name of one; see `closerlook.load`.
    environment : str or EnvironmentSpec, optional
        Where it acts; default what it was trained on.
    minutes : float
        The budget. A trial turns it into pairs once; after that no number depends on the clock.
    batch : Batch, str or Path, optional
        A batch of its training, recomputed by `closerlook.lint`.
    **more
        ``expect_return``, what it should earn with drawn actions; ``limits``, a file in place of parts of
        ``limits.yaml``; ``seed``; ``workers``; ``out``, a folder for results; ``resume``; ``progress``; ``name``, what
        the agent is called; ``seed_returns``, what agents of the same training from all seeds earn at its end: the log
        of a run folder says so by itself.

    Returns
    -------
    Checkup
        With ``cause``, ``checks`` and ``unknown``. Interrupted (Ctrl-C), it holds what was found so far.

    Raises
    ------
    InputError
        Where the agent, the environment, the batch or the limits cannot be used.

    Examples
    --------
    >>> import closerlook as cl
    >>> agent = cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    >>> found = cl.checkup(agent, minutes=0.01, workers=1)
    >>> found["horizon_too_short"].level
    'ok'

    See Also
    --------
    closerlook.inspect : whether an agent is the one that was trained.
    closerlook.lint : a training batch recomputed.
    closerlook.compare : two agents by the same numbers.
    """
    if not isinstance(agent, Agent):
        more = {"seed_returns": returns_of_seeds(agent), **more}
    asked = _Asked.of(minutes, more)
    name, one = _agent_of(agent, environment, asked.name)
    given = Batch.load(batch) if isinstance(batch, str | Path) else batch
    limits = load_limits(asked.limits)
    checks = None if given is None else tuple(lint(given).checks)
    with ExitStack() as stack:
        folder = RunFolder(stack.enter_context(TemporaryDirectory()) if asked.out is None else asked.out)
        try:
            subject = resolve([one], environment, asked.seed, folder.path.resolve() / "shards")[0]
        except NonFiniteError as error:
            found = Finding("broken_steps", "steps", "problem", f"{error.what}.", advice=f"{error.hint}.")
            return Checkup(name, str(environment or one.environment or ""), (found,), minutes)
        if asked.out is not None:
            stack.enter_context(folder.open_for("checkup", _settings(subject, asked, limits), resume=asked.resume))
        pools = Pools(subject, asked.workers, folder if asked.out is not None else None)
        plan = _plan(pools, asked, folder, limits)
        with _told(pools, plan, asked, "checkup"):
            answer = _spend(pools, plan, _Known(name, one, limits, checks, asked))
        if asked.out is not None:
            folder.write_json("checkup.json", answer.to_json())
            folder.finish(answer.pairs)
    return answer


@dataclass(frozen=True)
class _Asked:
    """How a checkup is run."""

    minutes: float
    expect_return: float | None = None
    limits: str | Path | None = None
    seed: int = 0
    workers: int = 1
    out: Path | None = None
    resume: bool = True
    seed_returns: tuple[float, ...] = ()
    progress: Progress = field(default_factory=Silence)
    name: str = ""

    @classmethod
    def of(cls, minutes: float, more: Mapping[str, Any]) -> "_Asked":
        # keywords are the same for checkup and compare, so that they are checked in one place
        strange = sorted(set(more) - set(cls.__dataclass_fields__))
        if strange:
            raise InputError(f"a checkup has no option {strange[0]!r}", "see help(closerlook.checkup)")
        if not isinstance(minutes, int | float) or not 0 < minutes < np.inf:
            raise InputError(f"minutes must be more than 0 (got {minutes!r:.20})", "give --minutes 10")
        expected = more.get("expect_return")
        if expected is not None and not np.isfinite(expected):
            raise InputError(f"the expected return is {expected}", "give a number (--expect-return)")
        known = {key: value for key, value in more.items() if value is not None}
        return cls(float(minutes), **{**known, "workers": crew_of(more.get("workers"))})


@dataclass(frozen=True)
class _Known:
    """What is known before anything is sampled."""

    name: str
    agent: Agent
    limits: Mapping[str, Limit]
    lint: Any
    asked: _Asked


def _agent_of(given: Agent | str | Path, environment: Any, name: str) -> tuple[str, Agent]:
    if isinstance(given, Agent):
        return name or (given.origin.format if given.origin is not None else "agent"), given
    found = load(given, env=environment, anyway=True)
    if isinstance(found, list):
        raise InputError(f"{given} holds {len(found)} agents", "choose one (--agent-seed)")
    return name or str(given), found


def _settings(subject: Subject, asked: _Asked, limits: Mapping[str, Limit]) -> dict[str, Any]:
    """Return what decides the results beside the plan."""
    return {
        "agents": [content_key(subject.identity)],
        "environment": subject.environment.to_json(),
        "minutes": asked.minutes,
        "seed": asked.seed,
        "expect_return": asked.expect_return,
        "seed_returns": list(asked.seed_returns),
        "limits": content_key({name: vars(limit) for name, limit in limits.items()}),
    }


def _plan(pools: Pools, asked: _Asked, folder: RunFolder, limits: Mapping[str, Limit]) -> Plan:
    """Return the plan that the folder holds, or make one by a trial."""
    # the clock is read once: whoever asks again gets the plan that was made then, and so the same bytes
    kept = folder.kept("plan")
    if kept is not None:
        return Plan.from_json(kept)
    subject = pools.subject
    plan = make_plan(
        asked.minutes,
        asked.workers,
        pools.trial(asked.minutes),
        time_limit=subject.description["time_limit"],
        continuation=continuation_steps(subject.agent.gamma),
        limits=limits,
    )
    if pools.rule is None:
        reason = "the agent does not say how it is updated"
        plan = replace(plan, reasons={**plan.reasons, "updates": reason})
    if asked.out is not None:
        folder.keep(plan=plan.to_json())
    return plan


@contextmanager
def _told(pools: Pools, plan: Plan, asked: _Asked, label: str) -> Iterator[None]:
    """Tell of all that the plan may spend as one piece of work; how long that takes is what it was made from."""
    whole = Whole(asked.progress, plan.pairs, label, lambda: 60 * asked.minutes)
    pools.progress = whole
    try:
        yield
    finally:
        whole.end()


def _spend(pools: Pools, plan: Plan, known: _Known) -> Checkup:
    """Sample in looks, where a verdict is open, until none is or the plan is spent; an interruption ends it early."""
    interrupted, answer = False, _answer(pools, plan, known)
    try:
        while True:
            # answers are judged after each pool, as one that settles the cause leaves less for the next to say
            going = next_look(plan, pools.looks, _open_pools(answer), pools.spent)
            if not going:
                break
            for name, look in going.items():
                pools.extend(name, plan, look)
                answer = _answer(pools, plan, known)
    except KeyboardInterrupt:
        interrupted = True
        known.asked.progress.note("interrupted: this is what is known so far")
    return replace(answer, interrupted=interrupted)


def measure(
    agent: Agent, environment: Any, plan: Plan | None, *, label: str = "checkup", **more: Any
) -> tuple[Case, Plan, dict[str, np.ndarray]]:
    """Sample all pools as far as a plan reaches, and name what comes of it; nothing is judged.

    Parameters
    ----------
    agent : Agent
        A single one.
    environment : str, EnvironmentSpec or None
        Where.
    plan : Plan or None
        None: made of the minutes.
    label : str
        What the work is called.
    **more
        As for `checkup`; ``minutes`` among them.

    Returns
    -------
    case : Case
        Named numbers, with intervals of the plan's confidence.
    plan : Plan
        The plan.
    episodes : dict of str to ndarray
        Returns of ``sampled``, ``mode`` and ``random`` ones, in the order of their resets; ``lengths`` of the sampled.
    """
    asked = _Asked.of(more.pop("minutes"), more)
    with TemporaryDirectory() as scratch:
        subject = resolve([agent], environment, asked.seed, Path(scratch))[0]
        pools, limits = Pools(subject, asked.workers, None), load_limits(None)
        plan = _plan(pools, asked, RunFolder(scratch), limits) if plan is None else plan
        with _told(pools, plan, asked, label):
            while going := next_look(plan, pools.looks, set(POOLS), pools.spent):
                for name, look in going.items():
                    pools.extend(name, plan, look)
    nothing = [np.empty(0)]
    episodes = {kind: np.concatenate([one["returns"] for one in pools.answers[kind]] or nothing) for kind in KINDS}
    episodes["lengths"] = np.concatenate([one["lengths"] for one in pools.answers["sampled"]] or nothing)
    return _case(pools, plan, _Known("", agent, limits, None, asked)), plan, episodes


def _answer(pools: Pools, plan: Plan, known: _Known) -> Checkup:
    """Judge what was sampled so far."""
    origin = known.agent.origin
    notices = () if origin is None else (*origin.notices, *(f"{k}: {v}" for k, v in origin.assumed.items()))
    pairs = int(sum(pools.spent.values()))
    findings = judge(_case(pools, plan, known))
    return Checkup(known.name, pools.subject.environment.id, findings, known.asked.minutes, pairs, notices)


def _open_pools(answer: Checkup) -> set[str]:
    """Return the pools that would narrow an interval which is open, of a check that may still be the cause."""
    return {
        pool_of(name)
        for found in answer.checks
        if found.level == "not_enough_data" and answer.may_be_cause(found)
        for name in found.evidence
        if f"{name}_low" in found.evidence
    }


def judge(case: Case) -> tuple[Finding, ...]:
    """Make every check, and conclude."""
    findings = [check(case) for check in CHECKS]
    return (*findings, outcome.conclude(case, findings))


def _case(pools: Pools, plan: Plan, known: _Known) -> Case:
    """Turn what was sampled into named numbers."""
    agent, answers = known.agent, pools.answers
    short = "streams" in plan.pools and plan.pools["streams"].continuation == 0 and agent.gamma > 0
    numbers: Numbers = {}
    if pools.looks.get("episodes", -1) >= 0 and "episodes" not in pools.failed:
        episodes = {kind: answers[kind] for kind in KINDS}
        numbers |= episode_numbers(episodes, pools.subject.description["time_limit"], plan.confidence)
        random = numbers.get("random_return", NOTHING).value
        numbers |= seed_numbers(known.asked.seed_returns, random)
    if answers["streams"]:
        batch = agent.regime.batch_pairs
        numbers |= stream_numbers(agent, answers["streams"], batch, plan.confidence)
        if short:
            numbers = {name: number for name, number in numbers.items() if name not in _OF_COMPLETE_RETURNS}
    if answers["updates"] and pools.rule is not None:
        numbers |= update_numbers(agent, answers["updates"], pools.rule, plan.confidence)
    waiting = dict.fromkeys(_OF_COMPLETE_RETURNS, _SHORT) if short else {}
    waiting |= {name: "it was interrupted before that was sampled" for name in POOLS if name not in pools.looks}
    spreads = input_spreads(answers["streams"]) if answers["streams"] else np.empty(0)
    origin = agent.origin
    return Case(
        numbers=numbers,
        limits=known.limits,
        settings=setting_numbers(agent, pools.rule),
        library=origin.library if origin is not None and origin.library else "closerlook",
        identity=_identity(known, answers),
        missing={} if origin is None else origin.missing,
        features=[str(number) for number in range(len(spreads))],
        spreads=spreads.tolist(),
        shares=input_shares(agent, spreads).tolist(),
        standardized=agent.observation_scaling is not None,
        solved_at=_solved_at(pools.subject.environment),
        has_critic=agent.value is not None,
        lint=known.lint,
        non_finite=pools.non_finite,
        not_sampled={**waiting, **plan.reasons, **pools.failed},
        spent=pools.spent,
        record=_record(agent),
        seed_returns=known.asked.seed_returns,
    )


_SHORT = "Monte Carlo discounted returns take more steps than the budget has, or never end (--minutes, gamma)"
_OF_COMPLETE_RETURNS = frozenset(
    {
        *("returns_rms", "values_rms", "returns_to_values", "critic_skill", "critic_explained", "fitted_explained"),
        *("direction", "return_variance_top_share", "critic_loss_top_share", "lambda_gain", "best_lambda"),
        "critic_features_explained",
    }
)


def _identity(known: _Known, answers: Mapping[str, list[Result]]) -> tuple[str, tuple[str, ...]]:
    """Compare returns with their record, and inputs with their statistics, as ``closerlook inspect`` does."""
    agent, origin = known.agent, known.agent.origin
    records = origin.recorded if origin is not None else ()
    if known.asked.expect_return is not None:
        records = (Recorded((known.asked.expect_return,), "sampled", "as you expect"), *records)
    if not answers["sampled"]:
        return "unknown", ()
    returns = {kind: np.concatenate([one["returns"] for one in answers[kind]]) for kind in KINDS if answers[kind]}
    intervals = {kind: interval(own) for kind, own in returns.items()}
    sight = None
    if agent.observation_scaling is not None and answers["streams"]:
        means = np.concatenate([one["input_means"] for one in answers["streams"]]).mean(0)
        clipped = float(np.concatenate([one["clipped"] for one in answers["streams"]]).mean())
        sight = Sight(means, input_spreads(answers["streams"]), clipped)
    random = intervals.get("random", interval(()))
    both = {kind: intervals.get(kind, interval(())) for kind in ("sampled", "mode")}
    evidence = Identity(agent, IdentityLimits(), both, random, tuple(records), sight, None)
    verdict, reasons = evidence.decide()
    # the record is of the policies before this one: where single episodes earned as little, the last updates may have
    # changed it
    record = records[0].returns if records else ()
    if verdict == "unlike" and not evidence.of_sight() and len(record) > 1:
        low, high = np.quantile(record, _OF_RECORD)
        if low <= both[records[0].acting].value <= high:
            return "changed", reasons
    return verdict, reasons


def _record(agent: Agent) -> tuple[float, ...]:
    records = agent.origin.recorded if agent.origin is not None else ()
    return next((one.returns for one in records if one.acting == "sampled" and len(one.returns) > 1), ())


def _solved_at(environment: EnvironmentSpec) -> float | None:
    """Return the return at which the environment's registration says that it is solved."""
    spec = gymnasium.registry.get(environment.id)
    threshold = getattr(spec, "reward_threshold", None)
    return float(threshold) if isinstance(threshold, int | float) else None
