"""Presets laid out: which agents, and what of them; and what several figures ask for, each unit once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from closerlook.algorithms.rules import ALGORITHMS
from closerlook.arguments import environment_id
from closerlook.errors import InputError
from closerlook.studies.preset import Preset
from closerlook.studies.sample_regime import Regimes, preset_of
from closerlook.studies.units import Given, Measurement, RegimeStudy, Training, Unit
from closerlook.training import TrainSettings

FACTORS = (0.25, 0.5, 1.0, 2.0)
"""Learning rates of sample regimes, as multiples of the task's own."""


@dataclass(frozen=True)
class Column:
    """One row of what a figure shows: agents of one task and algorithm, and what is measured of them.

    Parameters
    ----------
    agents : Training or Given
        The agents.
    parts : mapping of str to Measurement
        Those that are drawn, by their names in the preset.
    """

    agents: "Training | Given | RegimeStudy"
    parts: Mapping[str, Measurement]

    @property
    def units(self) -> list[Unit]:
        """What has to be there before it can be drawn."""
        own: list[Unit] = [] if isinstance(self.agents, Given) else [self.agents]
        return [*own, *self.parts.values()]


def columns_of(preset: Preset, home: Path, seed: int) -> list[Column]:
    """Lay a preset out: a column for each task and algorithm, or for each agent that is named.

    Parameters
    ----------
    preset : Preset
        At its scale.
    home : Path
        Folder of the study.
    seed : int
        Root seed of the measurements; training takes that of its settings.

    Raises
    ------
    InputError
        Where settings of training mean nothing, or no such agents are there.
    """
    if preset.draw == "sample_regime":
        return [Column(RegimeStudy(task, _regimes(preset, task, seed), home), {}) for task in preset.tasks]
    agents: list[Training | Given] = [Given(name) for name in preset.agents] or [
        Training(task, _settings(preset, task, algorithm), bool(preset.audit), home, preset.iterations)
        for task in preset.tasks
        for algorithm in preset.algorithms
    ]
    return [
        Column(
            one,
            {
                name: Measurement(one, part, preset.iterations, preset.seeds, seed, home)
                for name, part in preset.drawn.items()
            },
        )
        for one in agents
    ]


def _regimes(preset: Preset, task: str, seed: int) -> Regimes:
    """Return what a study of sample regimes trains.

    Raises
    ------
    InputError
        Where there is no such setting, or one means nothing.
    """
    known = {one.name for one in fields(Regimes)} - {"environment", "seeds", "seed"}
    strange = [name for name in preset.regimes if name not in known]
    if strange:
        raise InputError(
            f"{preset.name}: regimes have no {strange[0]!r:.60}", f"choose from {', '.join(sorted(known))}"
        )
    own = preset_of(task).ppo.policy_learning_rate
    given: dict[str, Any] = {"learning_rates": tuple(own * factor for factor in FACTORS), **preset.regimes}
    try:
        regimes = Regimes(environment=task, seeds=preset.seeds, seed=seed, **given)
        regimes.require_possible()
    except TypeError as error:
        raise InputError(f"{preset.name}: {error}", "mend its regimes") from None
    return regimes


def _settings(preset: Preset, task: str, algorithm: str) -> TrainSettings:
    """Return the settings that a column is trained with.

    Raises
    ------
    InputError
        Where there is no such setting, or one means nothing.
    """
    given = dict(preset.train)
    base = given.pop("preset", None)
    known = {one.name for one in fields(TrainSettings)} - {"environment", "algorithm", "seeds", "checkpoints"}
    strange = [name for name in given if name not in known]
    if strange:
        hint = f"choose from preset, {', '.join(sorted(known))}"
        raise InputError(f"{preset.name}: training has no setting {strange[0]!r:.60}", hint)
    try:
        settings = (
            TrainSettings(environment=environment_id(task), algorithm=algorithm)  # type: ignore[arg-type]
            if base is None
            else TrainSettings.of_preset(base, environment=task, algorithm=algorithm)  # type: ignore[arg-type]
        )
        # settings of several updates may stand there: each algorithm has its own
        updates = {name: replace(getattr(settings, name), **given.pop(name)) for name in ALGORITHMS if name in given}
        own = {name: update for name, update in updates.items() if name == algorithm}
        settings = replace(settings, **{**given, **own}, seeds=preset.seeds)
        iterations = settings.iterations
    except TypeError as error:
        raise InputError(f"{preset.name}: {error}", "mend its train settings") from None
    beyond = [iteration for iteration in preset.iterations if iteration > iterations]
    if beyond:
        what = f"{preset.name} measures iteration {beyond[0]}, and training has {iterations}"
        raise InputError(what, "give more steps, or other iterations")
    return replace(settings, checkpoints=preset.iterations or settings.checkpoints).resolved()


def in_order(columns: Sequence[Column]) -> list[Unit]:
    """Return every unit once, agents before what is measured of them; training that another one covers is left out.

    Parameters
    ----------
    columns : sequence of Column
        Of all figures.
    """
    trainings = [column.agents for column in columns if isinstance(column.agents, Training)]
    kept: list[Training] = []
    # the largest first, so that it covers the others
    sizes = {id(one): (one.audited, one.settings.seeds, len(one.settings.checkpoints)) for one in trainings}
    for one in sorted(trainings, key=lambda one: sizes[id(one)], reverse=True):
        if not any(other.covers(one) for other in kept):
            kept.append(one)
    units: list[Unit] = [one for one in trainings if any(one is other for other in kept)]
    units += [column.agents for column in columns if isinstance(column.agents, RegimeStudy)]
    units += [part for column in columns for part in column.parts.values()]
    return list({(type(unit).__name__, unit.name): unit for unit in units}.values())
