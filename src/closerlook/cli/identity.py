"""What is said of an agent that another library trained, before it is measured: whether it is the one that was."""

import math
from collections.abc import Sequence

from rich.table import Table

from closerlook.agents.agent import Agent
from closerlook.algorithms.rules import assumptions
from closerlook.cli.console import Terminal
from closerlook.errors import InputError
from closerlook.inspection import Inspection, inspect

GATE_EPISODES = 10
"""Of drawn, likeliest and random actions each, before a measurement."""
_ANYWAY = "see closerlook inspect; give what is missing (--normalize, --set, --env), or go on with --anyway"


def say_origin(agent: Agent, console: Terminal) -> None:
    """Say what a file held, what was assumed of an agent and what is missing.

    Parameters
    ----------
    agent : Agent
        As it was loaded.
    console : Terminal
        Where to say it.
    """
    origin = agent.origin
    taken = ", ".join(f"{name} {value}" for name, value in assumptions(agent).items())
    if taken:
        console.note(f"assumed, since the agent does not say: {taken}")
    if origin is None:
        return
    version = f" {origin.version}" if origin.version else ""
    trained = f", trained for {origin.steps:,} steps" if origin.steps else ""
    console.note(f"{origin.format}, {origin.library}{version}: {agent.algorithm}, {origin.policy}{trained}")
    for name, value in origin.assumed.items():
        console.note(f"assumed: {name} = {value}")
    for name, how in origin.missing.items():
        console.note(f"missing: {name}: {how}")
    for notice in origin.notices:
        console.note(f"note: {notice}")


def require_same(
    agents: Sequence[Agent], environment: str | None, name: str, console: Terminal, *, anyway: bool
) -> None:
    """Say of imported agents whether they are the ones that were trained, before anything is measured of them.

    Parameters
    ----------
    agents : sequence of Agent
        As they were loaded.
    environment : str or None
        Gymnasium id that was asked for.
    name : str
        Of the command, for the message.
    console : Terminal
        Where to say it.
    anyway : bool
        Whether agents that are unlike are to be measured.

    Raises
    ------
    InputError
        Where one is not, unless it is to be measured anyway.
    """
    for at, agent in enumerate(agents):
        if at == 0 or agent.origin is not None:
            say_origin(agent, console)
        if agent.origin is None:
            continue
        found = inspect(agent, environment, episodes=GATE_EPISODES)
        console.note(f"identity: {found.identity}: {'; '.join(found.reasons)}")
        if found.identity == "unlike" and not anyway:
            raise InputError(f"{name} is unlike the agent that was trained: {found.reasons[0]}", _ANYWAY)


def table_of(found: Inspection) -> Table:
    """Show what was found."""
    table = Table("", "", title=f"{found.identity} agent", title_justify="left", show_header=False)
    rows = found.to_json()
    for label, name in (
        ("drawn actions earn", "sampled_return"),
        ("likeliest actions earn", "mode_return"),
        ("recorded", "recorded_return"),
        ("random actions earn", "random_return"),
        ("share of inputs at their bounds", "share_clipped"),
        ("mean value", "mean_value"),
        ("mean discounted return", "mean_discounted_return"),
        ("explained variance of returns", "explained_variance"),
    ):
        if rows[name] is None or math.isnan(rows[name]):
            continue
        low, high = rows.get(f"{name}_low", math.nan), rows.get(f"{name}_high", math.nan)
        known = math.isfinite(low)
        table.add_row(label, f"{rows[name]:.4g}" + (f"  [{low:.4g}, {high:.4g}]" if known else ""))
    for label, values in (("because", found.reasons), ("settings", _settings(found))):
        for at, value in enumerate(values):
            table.add_row(label if at == 0 else "", value)
    return table


def _settings(found: Inspection) -> list[str]:
    agent = found.agent
    own = {name: value for name, value in agent.algorithm_settings.items() if value is not None}
    basics = {"gamma": agent.gamma, "gae_lambda": agent.gae_lambda, "batch": agent.regime.batch_pairs}
    return [", ".join(f"{name} {value}" for name, value in {**basics, **own}.items())]
