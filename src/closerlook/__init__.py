"""Deep policy-gradient agents under the microscope.

::

    import closerlook as cl

    agent = cl.load("runs/hopper-v5-ppo", iteration=150, seed=3)
    dataset = cl.gradient_quality(agent, pairs=1_000_000)
    cl.plot_gradient_quality(dataset)
    cl.verdicts(dataset)

Names are imported when they are first used, so that ``import closerlook`` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from closerlook.agents.agent import Agent as Agent
    from closerlook.agents.agent import Regime as Regime
    from closerlook.agents.environment import EnvironmentSpec as EnvironmentSpec
    from closerlook.agents.files import load_agent as load_agent
    from closerlook.agents.files import save_agent as save_agent
    from closerlook.agents.importers.sb3_live import from_sb3 as from_sb3
    from closerlook.agents.loading import load as load
    from closerlook.agents.normalization import Scaling as Scaling
    from closerlook.algorithms.natural import NaturalSettings as NaturalSettings
    from closerlook.algorithms.ppo import PPOSettings as PPOSettings
    from closerlook.algorithms.trpo import TRPOSettings as TRPOSettings
    from closerlook.algorithms.vanilla import VanillaSettings as VanillaSettings
    from closerlook.checkups import checkup as checkup
    from closerlook.checkups.compare import compare as compare
    from closerlook.checkups.selfcheck import selfcheck as selfcheck
    from closerlook.diagnostics import summary as summary
    from closerlook.diagnostics import verdicts as verdicts
    from closerlook.diagnostics.gradients import gradient_quality as gradient_quality
    from closerlook.diagnostics.gradients.figure import plot_gradient_quality as plot_gradient_quality
    from closerlook.diagnostics.landscape import landscape as landscape
    from closerlook.diagnostics.landscape.budget_figure import plot_budgets as plot_budgets
    from closerlook.diagnostics.landscape.figure import plot_landscape as plot_landscape
    from closerlook.diagnostics.runner import run as run
    from closerlook.diagnostics.trust_region import trust_region as trust_region
    from closerlook.diagnostics.trust_region.figure import plot_trust_region as plot_trust_region
    from closerlook.diagnostics.values import value_prediction as value_prediction
    from closerlook.diagnostics.values.figure import plot_value_prediction as plot_value_prediction
    from closerlook.drawing.critic_audit import plot_critic_audit as plot_critic_audit
    from closerlook.drawing.style import save_figure as save_figure
    from closerlook.drawing.training import plot_training as plot_training
    from closerlook.errors import InputError as InputError
    from closerlook.errors import NonFiniteError as NonFiniteError
    from closerlook.execution.engines import Executor as Executor
    from closerlook.inspection import inspect as inspect
    from closerlook.monitor.batch import Batch as Batch
    from closerlook.monitor.census import census as census
    from closerlook.monitor.critic_audit import CriticAudit as CriticAudit
    from closerlook.monitor.lint import lint as lint
    from closerlook.monitor.monitor import Monitor as Monitor
    from closerlook.monitor.training_monitor import TrainingMonitor as TrainingMonitor
    from closerlook.monitor.trust_audit import TrustRegionAudit as TrustRegionAudit
    from closerlook.pages.report import report as report
    from closerlook.results.reading import read_dataset as read_dataset
    from closerlook.training import TrainSettings as TrainSettings
    from closerlook.training import train as train
    from closerlook.training.callback import Callback as Callback

_HOMES = {
    "Agent": "agents.agent",
    "Batch": "monitor.batch",
    "Callback": "training.callback",
    "CriticAudit": "monitor.critic_audit",
    "EnvironmentSpec": "agents.environment",
    "Executor": "execution.engines",
    "InputError": "errors",
    "NonFiniteError": "errors",
    "Monitor": "monitor.monitor",
    "NaturalSettings": "algorithms.natural",
    "PPOSettings": "algorithms.ppo",
    "Regime": "agents.agent",
    "Scaling": "agents.normalization",
    "TRPOSettings": "algorithms.trpo",
    "TrainSettings": "training",
    "TrainingMonitor": "monitor.training_monitor",
    "TrustRegionAudit": "monitor.trust_audit",
    "VanillaSettings": "algorithms.vanilla",
    "census": "monitor.census",
    "checkup": "checkups",
    "compare": "checkups.compare",
    "from_sb3": "agents.importers.sb3_live",
    "gradient_quality": "diagnostics.gradients",
    "inspect": "inspection",
    "landscape": "diagnostics.landscape",
    "lint": "monitor.lint",
    "run": "diagnostics.runner",
    "load": "agents.loading",
    "load_agent": "agents.files",
    "plot_budgets": "diagnostics.landscape.budget_figure",
    "plot_critic_audit": "drawing.critic_audit",
    "plot_gradient_quality": "diagnostics.gradients.figure",
    "plot_landscape": "diagnostics.landscape.figure",
    "plot_training": "drawing.training",
    "plot_trust_region": "diagnostics.trust_region.figure",
    "plot_value_prediction": "diagnostics.values.figure",
    "read_dataset": "results.reading",
    "report": "pages.report",
    "save_agent": "agents.files",
    "save_figure": "drawing.style",
    "selfcheck": "checkups.selfcheck",
    "summary": "diagnostics",
    "train": "training",
    "trust_region": "diagnostics.trust_region",
    "value_prediction": "diagnostics.values",
    "verdicts": "diagnostics",
}

__all__ = [*_HOMES]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"closerlook has no {name}")
    value = getattr(import_module(f"closerlook.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
