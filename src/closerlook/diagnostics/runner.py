"""The runner: the only one that runs a diagnostic's jobs, opens folders, tells progress and cost, and writes results.

::

    Options --> Subjects --> plan --> stages of jobs --> statistics --> labels --> dataset --> summary, files

Agents are measured abreast: all of them yield a stage of jobs, which run together; then each receives its answers. What
one finds does not depend on the others, nor on how many are measured at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import xarray as xr

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.identity import probe
from closerlook.diagnostics import find_diagnostic, summary
from closerlook.diagnostics.analyses import amounts, progress_note
from closerlook.diagnostics.common.checks import as_agents, tried
from closerlook.diagnostics.dataset import label
from closerlook.diagnostics.diagnostic import Answers, Diagnostic, Stages, Statistics, UnmeasurableError
from closerlook.diagnostics.foretelling import Foretelling
from closerlook.diagnostics.options import BaseOptions
from closerlook.diagnostics.subjects import Subject, resolve
from closerlook.errors import InputError
from closerlook.execution import (
    JobCache,
    Progress,
    Silence,
    Whole,
    content_key,
    crew_of,
    executing,
    offer_trial,
    run_jobs,
)
from closerlook.execution.threads import single_thread
from closerlook.results.leavings import digests, finished_files
from closerlook.results.reading import read_dataset
from closerlook.results.schema import SCHEMA_VERSION, validate
from closerlook.results.store import RunFolder

MUCH_WORK = 1e9
"""Pairs from which on listing and naming the jobs alone takes seconds: too long a measurement is refused before."""


@single_thread()
def run(
    diagnostic: str | Diagnostic,
    agents: Agent | Sequence[Agent],
    environment: str | EnvironmentSpec | None = None,
    options: BaseOptions | Mapping[str, Any] | None = None,
    **how: Any,
) -> xr.Dataset:
    """Ask one question of agents.

    Parameters
    ----------
    diagnostic : str or Diagnostic
        ``"gradients"``, ``"values"``, ``"landscape"``, ``"trust-region"``, or one of an installed package.
    agents : Agent or sequence of Agent
        Several are measured together; each with draws of its own.
    environment : str or EnvironmentSpec, optional
        A Gymnasium id, or ``module:Id``; default what the agents were trained on.
    options : Options or mapping, optional
        The diagnostic's own options.
    **how
        Options by name as well; and ``workers`` (processes, default one per core), ``executor`` (``"serial"``,
        ``"processes"``, ``"ray"``, ``"slurm"``, or a `closerlook.Executor`), on neither of which any number depends;
        ``out``, a folder for results and finished jobs, from which the same call goes on, or answers where it is
        finished; ``resume``, False to compute what it holds again; ``progress`` (`closerlook.execution.Progress`), who
        is told how far the work has come.

    Returns
    -------
    xarray.Dataset
        Its variables are those of the diagnostic; over ``agent`` where several agents were given.

    Raises
    ------
    InputError
        Where an option means nothing, agents differ in what they must share, or the folder holds another run.
    NonFiniteError
        Where parameters, rewards, observations or advantages are not finite.

    See Also
    --------
    closerlook.verdicts : what the numbers mean.
    closerlook.summary : the numbers as JSON values.
    closerlook.Executor : who answers jobs.

    Examples
    --------
    >>> import closerlook as cl
    >>> agent = cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    >>> dataset = cl.run("gradients", agent, pairs=4096, estimates=2, sizes=(128,), workers=1)
    >>> dataset.attrs["diagnostic"]
    'gradients'
    """
    asked = find_diagnostic(diagnostic) if isinstance(diagnostic, str) else diagnostic
    given = {name: value for name, value in how.items() if name not in _Call.NAMES}
    wanted = _options(asked, options, given)
    singles = as_agents(agents)
    with ExitStack() as stack:
        stack.enter_context(executing(how.get("executor"), how.get("workers"), how.get("out")))
        call = _Call.of(how)
        folder = RunFolder(stack.enter_context(TemporaryDirectory()) if call.out is None else call.out)
        subjects = resolve(singles, environment, wanted.seed, folder.path.resolve() / "shards")
        others = {name: as_agents(some) for name, some in wanted.agents().items() if some}
        # agents among the options (--towards) are tried as those that are measured
        tried_out: dict[str, Any] = {name: tuple(tried(some, subjects[0].environment)) for name, some in others.items()}
        wanted = replace(wanted, **tried_out)
        plan = asked.plan(subjects, wanted)
        if call.out is not None:
            settings = _settings(subjects, wanted)
            if call.resume and (stored := _stored(asked, folder, settings)) is not None:
                return stored
            stack.enter_context(folder.open_for(asked.name, settings, resume=call.resume))
        # interim analyses go on from the answers of the one before, so they are kept even where no folder was given
        cache = folder.jobs() if call.out is not None or wanted.precision is not None else None
        team = _Team(call.workers, cache, call.progress, Foretelling(asked, subjects, call.workers))
        pairs = 0.0
        for at, dataset in _analyses(asked, subjects, wanted, plan, team):
            pairs = asked.total(subjects, at).pairs
            if call.out is not None:
                written = folder.write_dataset(f"{asked.name}.nc", dataset)
                folder.keep(files=digests([written, folder.write_json(f"{asked.name}.json", summary(dataset))]))
        if call.out is not None:
            folder.finish(pairs)
    return dataset


def _stored(diagnostic: Diagnostic, folder: RunFolder, settings: Mapping[str, Any]) -> xr.Dataset | None:
    """Return the dataset that the same run left here, None where there is none to go by."""
    with suppress(InputError, ValueError):  # it is computed again, or what is wrong is said when the folder is opened
        for file in finished_files(folder, diagnostic.name, settings)[:1]:
            dataset = read_dataset(file)
            if dataset.attrs.get("schema_version") == SCHEMA_VERSION:
                return validate(dataset, diagnostic.variables)
    return None


@dataclass(frozen=True)
class _Call:
    """How a measurement is run: nothing that its numbers depend on."""

    NAMES = ("workers", "executor", "out", "resume", "progress")

    workers: int
    out: str | Path | None
    resume: bool
    progress: Progress

    @classmethod
    def of(cls, how: Mapping[str, Any]) -> "_Call":
        workers = crew_of(how.get("workers"))
        return cls(workers, how.get("out"), how.get("resume", True), how.get("progress") or Silence())


@dataclass(frozen=True)
class _Team:
    """Who answers jobs."""

    workers: int
    cache: JobCache | None
    progress: Progress
    foretelling: Foretelling


def _options(diagnostic: Diagnostic, options: Any, given: Mapping[str, Any]) -> BaseOptions:
    """Return options of one diagnostic, checked, from a dataclass or a mapping, and from keywords."""
    if isinstance(options, BaseOptions):
        if not isinstance(options, diagnostic.Options):
            what = f"options of {type(options).__module__} were given for {diagnostic.name}"
            raise InputError(what, f"give {diagnostic.name}'s own Options, or a mapping")
        return replace(options, **given).checked()
    return diagnostic.Options.of({**(options or {}), **given})


def _settings(subjects: Sequence[Subject], options: BaseOptions) -> dict[str, Any]:
    """Return what decides the results, for the run folder."""
    # what decides the numbers: agents and environment by what they do, options by their values
    return {
        "agents": [content_key(subject.identity) for subject in subjects],
        "environment": subjects[0].environment.to_json(),
        **options.settings(),
        **{name: [content_key(probe(agent)) for agent in agents] for name, agents in options.agents().items()},
    }


def _analyses(
    diagnostic: Diagnostic, subjects: Sequence[Subject], options: BaseOptions, plan: Any, team: _Team
) -> Iterator[tuple[Any, xr.Dataset]]:
    """Yield what is found, with its plan: once, or after each interim analysis until an interval is narrow enough.

    What every analysis found is yielded, so that an interruption of a later one leaves it.
    """
    narrowing = diagnostic.narrowing
    if options.precision is None:
        work = diagnostic.total(subjects, plan).work
        # the announcement itself refuses what would take too long, before jobs are listed
        if work > MUCH_WORK:
            team.progress.outlook(work, work)
        yield plan, _found(diagnostic, subjects, plan, team)
        return
    if narrowing is None:
        raise InputError(f"{diagnostic.name} has no interval to narrow", "leave out precision")
    most = getattr(options, narrowing.option)
    # the last one is all that was asked for, whatever the doubling comes to
    planned = {amount: narrowing.shrink(plan, amount) for amount in amounts(*narrowing.first(subjects, options), most)}
    works = [diagnostic.total(subjects, at).work for at in planned.values()]
    first = next(iter(planned.values()))
    offer_trial(team.progress, works[0], lambda: team.foretelling.seconds(first))
    team.progress.outlook(works[0], works[-1])
    for amount, at in planned.items():
        found = _found(diagnostic, subjects, at, team)
        width = narrowing.half_width(found, options)
        reached = int(width <= options.precision)
        yield at, found.assign_attrs(precision=options.precision, half_width=width, precision_reached=reached)
        if reached:
            return
        team.progress.note(progress_note(narrowing, amount, width, options))


def _found(diagnostic: Diagnostic, subjects: Sequence[Subject], plan: Any, team: _Team) -> xr.Dataset:
    """Measure every agent, as many at a time as their answers allow."""
    work, name = diagnostic.total(subjects, plan).work, diagnostic.name.replace("-", " ")
    whole = Whole(team.progress, work, name, lambda: team.foretelling.seconds(plan))
    together = max(1, diagnostic.together(subjects, plan, team.workers))
    found: list[Statistics] = []
    try:
        for first in range(0, len(subjects), together):
            found += _abreast(diagnostic, subjects[first : first + together], plan, replace(team, progress=whole))
    finally:
        whole.end()
    return label(diagnostic, subjects, plan, found)


def _abreast(diagnostic: Diagnostic, subjects: Sequence[Subject], plan: Any, team: _Team) -> list[Statistics]:
    """Run the stages of several agents side by side.

    Raises
    ------
    InputError
        Where none of them can be measured.
    """
    going: dict[int, tuple[Stages, Answers | None]] = {
        at: (diagnostic.measure(subject, plan), None) for at, subject in enumerate(subjects)
    }
    found: dict[int, Statistics] = {}
    refusals: list[InputError] = []
    while going:
        asked = {}
        for at, (stages, answers) in list(going.items()):
            try:
                # a measurement is a generator: it yields a stage of jobs and is sent their answers
                asked[at] = next(stages) if answers is None else stages.send(answers)
            except StopIteration as end:
                found[at] = end.value
            except UnmeasurableError as none:
                found[at] = none.statistics
                refusals.append(none.error)
            if at in found:
                del going[at]
        if len(refusals) == len(subjects):
            raise _refusal(refusals)
        # one call for the jobs of all agents, so that no worker waits for the end of another agent's stage
        jobs = [job for of_one in asked.values() for job in of_one]
        if jobs and team.foretelling.is_open:
            left = sum(job.pairs for job in jobs)
            offer_trial(team.progress, left, partial(team.foretelling.left, jobs))
        results = iter(run_jobs(jobs, workers=team.workers, cache=team.cache, progress=team.progress))
        going = {at: (stages, [next(results) for _ in asked[at]]) for at, (stages, _) in going.items()}
    return [found[at] for at in range(len(subjects))]


def _refusal(errors: Sequence[InputError]) -> InputError:
    first = errors[0]
    if len(errors) == 1:
        return first
    return type(first)(f"no agent can be measured: of the first, {first.what}", first.hint)
