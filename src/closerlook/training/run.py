"""A training run: segments of all agents, one after the other, into a folder that can be taken up again.

::

    runs/hopper/
      run.json                      settings, versions, time
      training.csv                  one row for each iteration and agent (see `COLUMNS`)
      checkpoints/000150/03/        agent 3 after 150 updates
      tensorboard/03/               events of agent 3, where asked for
      jobs/                         finished segments of each agent

Checkpoint 0 holds the parameters before any update together with the statistics of the first rollout: without them a
frozen standardization would be undefined.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from closerlook.agents.agent import Agent
from closerlook.agents.files import delete_agent, save_agent
from closerlook.agents.loading import CHECKPOINTS, checkpoint_folder, checkpoints_of
from closerlook.errors import InputError, NonFiniteError
from closerlook.execution import Executor, Progress, Silence, crew_of, executing, offer_trial
from closerlook.execution.threads import single_thread
from closerlook.results.store import RunFolder
from closerlook.simulation.engine import describe_environment
from closerlook.training.callback import Callback, columns_of
from closerlook.training.events import EventFiles, NoEvents
from closerlook.training.foretelling import foretell
from closerlook.training.log import Row, all_columns, as_arrays, as_line, header, log_rows
from closerlook.training.plan import Plan, has_state, with_answer
from closerlook.training.settings import TrainSettings, initial_agents


@runtime_checkable
class Listener(Protocol):
    """Progress that also wants to hear how the agents are doing."""

    def report(self, rows: Sequence[Row]) -> None:
        """Take in the log of a segment: a row for each iteration and agent."""


@dataclass(frozen=True)
class TrainingRun:
    """What a training run left.

    Parameters
    ----------
    folder : Path
        Where it is on disk.
    agents : list of Agent
        The last checkpoint of each seed.
    log : dict of str to ndarray
        Columns of ``training.csv`` (see `COLUMNS`), one entry for each iteration and agent.
    """

    folder: Path
    agents: list[Agent]
    log: dict[str, np.ndarray]


@single_thread()
def train(
    settings: TrainSettings,
    *,
    out: str | Path,
    workers: int | None = None,
    resume: bool = True,
    progress: Progress | None = None,
    tensorboard: bool = False,
    callbacks: Sequence[Callback] = (),
    executor: Executor | str | None = None,
) -> TrainingRun:
    """Train agents, or go on where an earlier run with the same settings was ended.

    Parameters
    ----------
    settings : TrainSettings
        What to train, on what, for how long.
    out : str or Path
        Run folder.
    workers : int, optional
        Worker processes, default one per core. No number depends on it.
    resume : bool
        Whether to go on where the run that the folder holds was ended; else to train from the beginning, in place of
        that run and its checkpoints.
    progress : Progress, optional
        Told the environment steps still to make, and those made; where it is a `Listener`, also the log's new rows.
    tensorboard : bool
        Write the log as TensorBoard events too.
    callbacks : sequence of Callback
        Who hears of every update, and may add columns to the log: `closerlook.CriticAudit`, for example.
    executor : Executor or str, optional
        Who trains: ``"serial"``, ``"processes"``, ``"ray"`` or ``"slurm"``. No number depends on it.

    Returns
    -------
    TrainingRun
        Folder, last agents, log.

    Raises
    ------
    InputError
        Where a setting means nothing, another command is at work in the folder, it holds another run, the disk is
        full, or TensorBoard is asked for and not installed.
    NonFiniteError
        Where rewards, observations or parameters are not finite: names agent and iteration; the log and the last good
        state are on disk.

    See Also
    --------
    closerlook.TrainSettings : what can be said.
    closerlook.load : the agents of a run.
    closerlook.plot_training : its log, drawn.

    Examples
    --------
    >>> import tempfile
    >>> import closerlook as cl
    >>> settings = cl.TrainSettings(environment="Hopper-v5", seeds=1, steps=512, n_steps=256, checkpoints=(0,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = cl.train(settings, out=folder, workers=1)
    >>> run.log["iteration"].tolist()
    [0, 1]
    """
    settings = settings.resolved()
    columns = all_columns(columns_of(callbacks))
    for callback in callbacks:
        callback.check(settings)
    recorded = {"callbacks": [callback.identity() for callback in callbacks]} if callbacks else {}
    environment = describe_environment(settings.spec)
    events = EventFiles(Path(out) / "tensorboard") if tensorboard else NoEvents()
    agents = initial_agents(settings, settings.numbers)
    with ExitStack() as stack:
        stack.enter_context(executing(executor, workers, out))
        crew = crew_of(workers)
        folder = stack.enter_context(RunFolder(out).open_for("train", settings.to_json() | recorded, resume=resume))
        stack.enter_context(events)
        plan = Plan(settings, environment, crew, folder.jobs(), folder.path, callbacks)
        if resume and folder.is_new:
            _require_own_agents(folder.path, plan)
        log = _Log(folder, events, progress, columns)
        progress = progress or Silence()
        offer_trial(progress, plan.missing_pairs(), lambda: foretell(plan, agents))
        progress.start(plan.missing_pairs(), "training")
        try:
            for number, (first, last) in enumerate(plan.segments):
                answers = plan.answer(number, agents, progress)
                if number == 0:
                    _delete_strangers(folder.path, plan, answers)
                # the state after this segment; agents that failed earlier stay as they were
                agents = [
                    with_answer(*pair) if has_state(pair[1]) else pair[0] for pair in zip(agents, answers, strict=True)
                ]
                folder.require_own()
                log.add(log_rows(answers, plan.numbers, first, columns))
                _save_checkpoints(folder.path, settings, agents, answers, first, last)
                # states of the segment before are no longer needed to go on
                if number > 0:
                    plan.prune(number - 1)
        finally:
            progress.finish()
        folder.finish(settings.seeds * settings.iterations * settings.regime.batch_pairs)
    return TrainingRun(folder.path, agents, as_arrays(log.rows, columns))


def _require_own_agents(run: Path, plan: Plan) -> None:
    """Refuse to train where there are agents of which neither a record nor an answer tells.

    Raises
    ------
    InputError
        Where there are such.
    """
    if checkpoints_of(run) and not any(plan.reached):
        what = f"{run / CHECKPOINTS} holds agents of another run"
        raise InputError(what, "give another --out, or --no-resume to replace them")


def _delete_strangers(run: Path, plan: Plan, first: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Delete agents that an earlier run left: they would be taken for agents of this one.

    An agent is this run's where an answer is stored of its iteration, or is the first, which has come by now.
    """
    own = {
        (it, number)
        for number, answer, reached in zip(plan.numbers, first, plan.reached, strict=True)
        for it in {0, int(answer["done"]), *reached}
    }
    for place, agent in checkpoints_of(run).items():
        if place not in own:
            delete_agent(agent)


class _Log:
    """The log as it grows: on disk, as events, and told to whoever listens."""

    def __init__(
        self,
        folder: RunFolder,
        events: EventFiles | NoEvents,
        progress: Progress | None,
        columns: Mapping[str, str],
    ) -> None:
        self.folder, self.events, self.columns = folder, events, columns
        self.listener: Listener | None = progress if isinstance(progress, Listener) else None
        self.rows: list[Row] = []
        self._text = header(columns) + "\n"

    def add(self, rows: Sequence[Row]) -> None:
        self.rows += rows
        self._text += "".join(f"{as_line(row, self.columns)}\n" for row in rows)
        self.folder.write_text("training.csv", self._text)
        self.events.add(rows)
        if self.listener is not None:
            self.listener.report(rows)


def _save_checkpoints(
    run: Path,
    settings: TrainSettings,
    agents: Sequence[Agent],
    answers: Sequence[Mapping[str, np.ndarray]],
    first: int,
    last: int,
) -> None:
    """Save what is asked for at the two ends of a segment; stop where an agent failed, its last good state saved."""
    for number, agent, answer in zip(settings.numbers, agents, answers, strict=True):
        if not has_state(answer):
            continue
        if first == 0 and 0 in settings.checkpoints:
            save_agent(with_answer(agent, answer, "first"), checkpoint_folder(run, 0, number))
        done = int(answer["done"])
        if (done == last and last in settings.checkpoints) or (str(answer["failure"]) and done > 0):
            save_agent(agent, checkpoint_folder(run, done, number))
    for failing in _failures(settings.numbers, answers):
        raise failing


def _failures(numbers: Sequence[int], answers: Sequence[Mapping[str, Any]]) -> Iterator[NonFiniteError]:
    for number, answer in zip(numbers, answers, strict=True):
        if str(answer["failure"]):
            what, hint = str(answer["failure"]).split("\n", 1)
            where = f"agent seed {number}, iteration {int(answer['done'])}"
            yield NonFiniteError(f"{where}: {what}", f"{hint}; the last good checkpoint of every agent is kept")
