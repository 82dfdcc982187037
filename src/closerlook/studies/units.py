"""What a study is made of: runs of training and measurements, each a folder of its own that any figure may share.

::

    runs/study/
      agents/hopper-ppo-1f0c9a3e/           a training run
      measured/gradients-hopper-ppo-77d1.../ a measurement of its agents
      figures/fig1-hopper-ppo.svg, .png
      study.json, claims.json, run.json

A folder's name holds everything that decides what is in it, so that what two figures ask alike is one folder, and what
is finished there is never computed again.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from closerlook.agents.agent import Agent
from closerlook.agents.loading import atlas_folder, checkpoints_of, find_agents
from closerlook.diagnostics import find_diagnostic
from closerlook.diagnostics.diagnostic import Cost
from closerlook.diagnostics.runner import run
from closerlook.diagnostics.subjects import resolve
from closerlook.errors import InputError
from closerlook.execution import Progress, content_key
from closerlook.monitor.critic_audit import CriticAudit
from closerlook.results.store import RunFolder, as_json
from closerlook.studies.preset import Part
from closerlook.studies.sample_regime import Regimes, preset_of, sample_regime
from closerlook.training import TrainSettings, train
from closerlook.training.settings import initial_agents

AGENTS, MEASURED = "agents", "measured"
MakeProgress = Callable[[str, str, int], Progress]
"""(what is done, environment, agents trained together; 0: measured) -> who is told how far it has come."""
LOG_BYTES = 150.0
"""Of a row of a training log, about."""
PARAMETER_BYTES = 4
OPTIMIZER_COPIES = 3
"""Copies of the parameters that a checkpoint holds: themselves and Adam's two moments."""


def plain_name(task: str) -> str:
    """Return what a task, or agents, are called in names of files."""
    return "".join(one if one.isalnum() else "-" for one in Path(task).name)


@dataclass(frozen=True)
class How:
    """How units are run: nothing that numbers depend on.

    Parameters
    ----------
    workers : int or None
        Processes, default one per core.
    resume : bool
        Whether what is finished counts.
    make_progress : callable or None
        See `MakeProgress`.
    """

    workers: int | None = None
    resume: bool = True
    make_progress: MakeProgress | None = None

    def progress(self, what: str, environment: str, trained: int) -> Progress | None:
        """Return who is told of one unit.

        Parameters
        ----------
        what : str
            What is done.
        environment : str
            Decides the usual speed.
        trained : int
            Streams that are trained together; 0: agents are measured.
        """
        return None if self.make_progress is None else self.make_progress(what, environment, trained)


@dataclass(frozen=True)
class Takes:
    """What a unit takes.

    Parameters
    ----------
    pairs : float
        State-action pairs that are simulated.
    work : float
        All that is to be done, in the pairs that could be simulated meanwhile.
    trained : int
        Streams that are trained together; 0: agents are measured.
    bytes : float
        On disk, about.
    """

    pairs: float
    work: float
    trained: int
    bytes: float


@dataclass(frozen=True)
class Training:
    """Agents of one task and algorithm, trained where there are none of these settings.

    Parameters
    ----------
    task : str
        As it is called: ``"hopper"``.
    settings : TrainSettings
        Resolved.
    audited : bool
        Whether critics are judged after every update; agents are the same.
    home : Path
        Folder of the study.
    wanted : tuple of int
        Iterations that are asked for; a run keeps its last one besides.
    """

    task: str
    settings: TrainSettings
    audited: bool
    home: Path
    wanted: tuple[int, ...]

    @property
    def algorithm(self) -> str:
        """Of the agents."""
        return self.settings.algorithm

    @property
    def environment(self) -> str:
        """Its Gymnasium id."""
        return self.settings.spec.id

    @property
    def label(self) -> str:
        """In words."""
        audited = ", critics audited" if self.audited else ""
        agents = "1 agent" if self.settings.seeds == 1 else f"{self.settings.seeds} agents"
        return f"train {agents} of {self.task}, {self.algorithm.upper()}{audited}"

    @cached_property
    def name(self) -> str:
        """Of its folder."""
        key = content_key("training", as_json(self.settings.to_json()), self.audited)
        return f"{self.task.replace(':', '-')}-{self.algorithm}-{key[:8]}"

    @property
    def decides(self) -> dict[str, Any]:
        """All that decides what an agent is, whatever is kept of it and however many others there are."""
        return {
            name: value
            for name, value in self.settings.to_json().items()
            if name not in {"seeds", "first_seed", "checkpoints"}
        }

    @property
    def folder(self) -> Path:
        """Where the agents are: here, or in another run of the same settings, the atlas for example."""
        return next(self._finished(), self.home / AGENTS / self.name)

    def covers(self, other: "Training") -> bool:
        """Whether this one holds all agents that another would."""
        return (
            self.decides == other.decides
            and set(self.settings.numbers) >= set(other.settings.numbers)
            and set(self.settings.checkpoints) >= set(other.wanted)
            and (self.audited or not other.audited)
        )

    def _finished(self) -> Iterator[Path]:
        """Yield folders of finished runs that hold these agents."""
        places = [self.home / AGENTS / self.name, *sorted((self.home / AGENTS).glob("*"))]
        kept = [atlas_folder() / f"{self.task}-{self.algorithm}{ending}" for ending in ("", "-v2")]
        for place in [*places, *kept]:
            if self._is_in(place):
                yield place

    def _is_in(self, place: Path) -> bool:
        record = _finished(place, "train")
        if record is None:
            return False
        found = dict(record["settings"])
        *_, kept, callbacks = (found.pop(name, None) for name in ("seeds", "first_seed", "checkpoints", "callbacks"))
        if found != as_json(self.decides):
            return False
        if self.audited and not callbacks:
            return False
        there = checkpoints_of(place).keys()
        wanted = {(it, seed) for it in self.wanted for seed in self.settings.numbers}
        return wanted <= there and isinstance(kept, list)

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to train."""
        return next(self._finished(), None) is not None

    def takes(self) -> Takes:
        """Count pairs and bytes."""
        settings = self.settings
        pairs = settings.seeds * settings.iterations * settings.regime.batch_pairs
        agent = self.example()
        parameters = sum(tensor.numel() for name, tensor in agent.state.items() if name.startswith(("policy", "value")))
        held = parameters * PARAMETER_BYTES * OPTIMIZER_COPIES * settings.seeds * len(settings.checkpoints)
        work = pairs * (2.5 if self.audited else 1.0)
        return Takes(
            pairs, work, settings.seeds * settings.n_envs, held + LOG_BYTES * settings.seeds * settings.iterations
        )

    def example(self) -> Agent:
        """Return an agent as it is before training, which is built as all of them are."""
        return initial_agents(self.settings, self.settings.numbers[:1])[0]

    def run(self, how: How) -> None:
        """Train."""
        train(
            self.settings,
            out=self.home / AGENTS / self.name,
            workers=how.workers,
            resume=how.resume,
            progress=how.progress(self.label, self.environment, self.settings.seeds * self.settings.n_envs),
            callbacks=[CriticAudit()] if self.audited else [],
        )


@dataclass(frozen=True)
class Given:
    """Agents that there are, by the name that every command takes.

    Parameters
    ----------
    task : str
        The name.
    """

    task: str
    audited: bool = field(default=False, init=False)

    @cached_property
    def agents(self) -> list[Agent]:
        """The agents."""
        return find_agents(self.task)

    @property
    def algorithm(self) -> str:
        """Of the agents."""
        return self.agents[0].algorithm or "unknown"

    @property
    def environment(self) -> str:
        """Its id."""
        spec = self.agents[0].environment
        return "unknown" if spec is None else spec.id

    @property
    def decides(self) -> dict[str, Any]:
        """What tells it from others."""
        return {"agents": self.task}

    @property
    def folder(self) -> Path:
        """Where it is."""
        return Path(self.task)

    def example(self) -> Agent:
        """Return one of them."""
        return self.agents[0]


@dataclass(frozen=True)
class Measurement:
    """One question asked of the agents of one column.

    Parameters
    ----------
    agents : Training or Given
        Whose.
    part : Part
        Diagnostic and options.
    iterations : tuple of int
        Checkpoints; empty: the last.
    seeds : int
        The first agents of each.
    seed : int
        Root seed of the measurement.
    home : Path
        Folder of the study.
    """

    agents: Training | Given
    part: Part
    iterations: tuple[int, ...]
    seeds: int
    seed: int
    home: Path

    @property
    def task(self) -> str:
        """As it is called."""
        return self.agents.task

    @property
    def label(self) -> str:
        """In words."""
        step = self.part.options.get("step_pairs")
        made = f", steps of {int(step):,} pairs" if step else ""
        return f"{self.part.diagnostic} of {self.task}, {self.agents.algorithm.upper()}{made}"

    @property
    def numbers(self) -> list[int | None]:
        """Seeds of its agents; None: of those that there are."""
        return list(self.agents.settings.numbers) if isinstance(self.agents, Training) else [None]

    @cached_property
    def name(self) -> str:
        """Of its folder."""
        options = find_diagnostic(self.part.diagnostic).Options.of(self.part.options).settings()
        # settings alone do not say which seeds
        decides = [as_json(self.agents.decides), list(self.iterations), self.numbers, as_json(options), self.seed]
        key = content_key("measurement", self.part.diagnostic, decides)
        task = plain_name(self.task)[:60]
        return f"{self.part.diagnostic}-{task}-{self.agents.algorithm}-{key[:8]}"

    @property
    def folder(self) -> Path:
        """Where its results are."""
        return self.home / MEASURED / self.name

    @property
    def file(self) -> Path:
        """The dataset."""
        return self.folder / f"{self.part.diagnostic}.nc"

    @property
    def is_done(self) -> bool:
        """Whether its dataset is there."""
        return _finished(self.folder, self.part.diagnostic) is not None and self.file.is_file()

    def takes(self) -> Takes:
        """Count pairs, from an agent that is built alike."""
        diagnostic = find_diagnostic(self.part.diagnostic)
        # as many subjects as there will be: what one plan takes may depend on how many there are
        one = self.agents.example()
        subjects = resolve([one], None, self.seed, self.folder / "shards")
        plan = diagnostic.plan(subjects, diagnostic.Options.of({**self.part.options, "seed": self.seed}))
        cost: Cost = diagnostic.cost(subjects[0], plan)
        times = max(1, len(self.iterations)) * self.seeds
        return Takes(times * cost.pairs, times * cost.work, 0, times * cost.stored)

    def run(self, how: How) -> None:
        """Measure."""
        source = str(self.agents.folder)
        agents = [
            agent
            for iteration in self.iterations or (None,)
            for seed in self.numbers
            for agent in find_agents(source, iteration=iteration, seed=seed)
        ]
        run(
            self.part.diagnostic,
            agents,
            self.agents.settings.spec if isinstance(self.agents, Training) else None,
            {**self.part.options, "seed": self.seed},
            workers=how.workers,
            out=self.folder,
            resume=how.resume,
            progress=how.progress(self.label, self.agents.environment, 0),
        )


@dataclass(frozen=True)
class RegimeStudy:
    """PPO over pairs of an iteration and learning rates: a study of many small runs, which is one unit here.

    Parameters
    ----------
    task : str
        As it is called.
    regimes : Regimes
        What is trained.
    home : Path
        Folder of the study.
    """

    task: str
    regimes: Regimes
    home: Path
    algorithm: str = field(default="ppo", init=False)

    @property
    def environment(self) -> str:
        """Its Gymnasium id."""
        return preset_of(self.task).spec.id

    @property
    def label(self) -> str:
        """In words."""
        runs = len(self.regimes.batches) * len(self.regimes.learning_rates)
        return f"sample regimes of {self.task}, {runs} runs of {self.regimes.seeds} agents"

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.task.replace(":", "-")

    @property
    def folder(self) -> Path:
        """Where its results are."""
        return self.home / self.name

    @property
    def file(self) -> Path:
        """The dataset."""
        return self.folder / "sample-regime.nc"

    @property
    def is_done(self) -> bool:
        """Whether its dataset is there."""
        record = _finished(self.folder, "sample-regime") or {}
        return record.get("settings") == as_json(asdict(self.regimes)) and self.file.is_file()

    def takes(self) -> Takes:
        """Count pairs and bytes."""
        runs = len(self.regimes.batches) * len(self.regimes.learning_rates)
        example = initial_agents(preset_of(self.task), [0])[0]
        held = sum(tensor.numel() for tensor in example.state.values()) * PARAMETER_BYTES * OPTIMIZER_COPIES
        return Takes(self.regimes.pairs, self.regimes.pairs, self.regimes.seeds, 2.0 * held * runs * self.regimes.seeds)

    def run(self, how: How) -> None:
        """Train and measure."""
        sample_regime(
            self.regimes,
            out=self.folder,
            workers=how.workers,
            resume=how.resume,
            make_progress=None
            if how.make_progress is None
            else partial(_regime_progress, how.make_progress, self.environment),
        )


def _regime_progress(make: MakeProgress, environment: str, label: str, streams: int) -> Progress:
    return make(label, environment, streams)


def _finished(folder: Path, kind: str) -> dict[str, Any] | None:
    """Return the record of a finished run of this kind, None where there is none that can be read."""
    try:
        record = RunFolder(folder).read_record() or {}
    except InputError:
        return None
    return record if record.get("kind") == kind and record.get("finished") else None


Unit = Training | Measurement | RegimeStudy
