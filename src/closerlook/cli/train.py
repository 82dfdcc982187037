"""``closerlook train``: agents, with checkpoints to measure."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args

import numpy as np
import tyro
from rich.table import Table

from closerlook.algorithms.presets import PresetName
from closerlook.cli.console import Terminal
from closerlook.cli.live import PopulationBar
from closerlook.cli.options import Distributed, folder_name, option
from closerlook.drawing.critic_audit import has_audit, plot_critic_audit
from closerlook.drawing.style import save_figure, verbatim
from closerlook.drawing.tables import make_table
from closerlook.drawing.training import plot_training
from closerlook.monitor.critic_audit import CriticAudit
from closerlook.monitor.trust_audit import TrustRegionAudit
from closerlook.training import TrainingRun, TrainSettings, train
from closerlook.training.callback import Callback

LONGEST = 10
"""Iterations whose mean reward is reported, of the start and of the end; fewer where they would overlap."""


@dataclass(frozen=True, kw_only=True)
class Train(Distributed):
    """Train agents, and keep checkpoints to measure.

    Several agents are trained at once, each from a seed of its own; none depends on the others. --preset paper takes
    Table 1 of "A Closer Look at Deep Policy Gradients" for PPO or TRPO on Hopper, Walker2d or Humanoid; --preset
    paper-v2 the same as the paper's code and the engine of its day ran it: time limits count as terminations, and
    Humanoid is charged for clipped controls; --preset ppo-m takes PPO without reward normalization, annealing, value
    clipping, orthogonal initial weights and clipping of observations and rewards. A preset only changes defaults:
    options that are given win.

    Leaves training.csv (a row for each iteration and agent), checkpoints/, training.svg, training.png and run.json in
    its folder, which is what the other commands take as an agent; with --audit-critic also audit.svg and audit.png.
    """

    settings: Annotated[TrainSettings, tyro.conf.arg(name="")] = field(default_factory=TrainSettings)
    preset: Annotated[PresetName | None, option("{paper,paper-v2,ppo-m}", "none")] = None
    """Take other defaults: paper (Table 1 for the task and the algorithm), paper-v2 (as the paper's code and engine ran
    it), or ppo-m."""
    audit_critic: bool = False
    """Judge the critic after every update, on its batch and on held-out pairs with Monte Carlo returns, in the columns
    audit_* of the log; the agents stay the same. About as much sampling again, and half."""
    audit_trust_region: bool = False
    """Measure what every update did to the policy, on its batch: divergences both ways, ratios, the quadratic model,
    the rise of the surrogate, in further columns audit_* of the log; the agents stay the same."""
    tensorboard: tyro.conf.FlagCreatePairsOff[bool] = False
    """Write the log as TensorBoard events too, into tensorboard/ in the folder."""

    @classmethod
    def defaults(cls, given: Sequence[str]) -> "Train":
        """Return what options are where they are not given: a preset, the task and the algorithm decide.

        Raises
        ------
        InputError
            Where the preset says nothing of the task or the algorithm.
        """
        reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        for name, field_name in (("preset", "preset"), ("env", "environment"), ("algo", "algorithm")):
            reader.add_argument(f"--{name}", default=getattr(TrainSettings, field_name, None))
        try:
            found, _ = reader.parse_known_args(given)
        except argparse.ArgumentError:  # left to the full reader, which says what is wrong
            return cls()
        if found.preset not in get_args(PresetName):
            return cls()
        return cls(settings=TrainSettings.of_preset(found.preset, found.env, found.algo), preset=found.preset)

    @property
    def default_name(self) -> str:
        """Named after environment and algorithm."""
        return folder_name(f"{self.settings.spec.id}-{self.settings.algorithm}".lower())

    def run(self, console: Terminal) -> None:
        """Train, draw, and print."""
        name = self.settings.spec.id
        streams = self.settings.seeds * self.settings.n_envs
        bar = PopulationBar(console, name, self.crew, trained=streams)
        run = train(
            self.settings,
            out=self.folder,
            workers=self.crew,
            resume=self.resume,
            progress=bar,
            tensorboard=self.tensorboard,
            callbacks=self._audits(),
        )
        axis = plot_training(run.log)
        axis.set_title(f"{verbatim(name)} · {self.settings.algorithm.upper()}", weight="bold")
        save_figure(axis, self.folder / "training")
        drawn = [self.folder / "training.png"]
        if has_audit(run.log):
            drawn += save_figure(plot_critic_audit(run.log), self.folder / "audit")[1:]
        console.result(summary_of(self.settings, run), table_of(run.log))
        console.files([self.folder / "training.csv", self.folder / "checkpoints", *drawn])
        console.note(f"next: closerlook gradients {self.folder}")

    def _audits(self) -> list[Callback]:
        """Return the audits that were asked for."""
        critic = [CriticAudit()] if self.audit_critic else []
        return [*critic, *([TrustRegionAudit()] if self.audit_trust_region else [])]


def summary_of(settings: TrainSettings, run: TrainingRun) -> dict[str, Any]:
    """Summarize a training run as JSON values.

    Parameters
    ----------
    settings : TrainSettings
        What was asked for.
    run : TrainingRun
        What came of it.
    """
    rewards = list(_rewards(run.log))
    return {
        "environment": settings.spec.id,
        "algorithm": settings.algorithm,
        "out": str(run.folder),
        "iterations": int(run.log["iteration"].max()) + 1,
        "environment_steps": int(run.log["environment_steps"].max()),
        "agent_seeds": [seed for seed, _, _ in rewards],
        "mean_reward_iterations": _window(run.log),
        "mean_reward_first": [first for _, first, _ in rewards],
        "mean_reward_last": [last for _, _, last in rewards],
    }


def table_of(log: Mapping[str, np.ndarray]) -> Table:
    """Lay out each agent's mean reward at the start and at the end."""
    iterations, some = int(log["iteration"].max()) + 1, _window(log)
    if iterations == 1:
        rows = [[f"seed {seed}", f"{only:,.0f}"] for seed, only, _ in _rewards(log)]
        return make_table("Training", ["agent", "mean reward, the only iteration"], rows)
    which = f"{some} iterations" if some > 1 else "iteration"
    columns = ["agent", f"mean reward, first {which}", f"last {some} of {iterations}"]
    rows = [[f"seed {seed}", f"{first:,.0f}", f"{last:,.0f}"] for seed, first, last in _rewards(log)]
    return make_table("Training", columns, rows)


def _window(log: Mapping[str, np.ndarray]) -> int:
    """Return how many iterations are the start, and how many the end: no iteration is both, unless there is one."""
    return max(1, min(LONGEST, (int(log["iteration"].max()) + 1) // 2))


def _rewards(log: Mapping[str, np.ndarray]) -> Iterator[tuple[int, float, float]]:
    """Yield each agent's seed and its mean reward at the start and at the end, where an episode ended there."""
    some = _window(log)
    for seed in np.unique(log["agent_seed"]):
        rewards = np.asarray(log["mean_reward"], dtype=float)[log["agent_seed"] == seed]
        ends = [part[np.isfinite(part)] for part in (rewards[:some], rewards[-some:])]
        first, last = (float(part.mean()) if part.size else float("nan") for part in ends)
        yield int(seed), first, last
