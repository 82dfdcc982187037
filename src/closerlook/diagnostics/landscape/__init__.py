"""Landscapes: surrogate and true reward on a plane through an agent's parameters, and along its update."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from closerlook.diagnostics.diagnostic import Diagnostic, Narrowing, later
from closerlook.diagnostics.landscape.limits import Limits
from closerlook.diagnostics.landscape.options import Options
from closerlook.diagnostics.landscape.variables import VARIABLES

if TYPE_CHECKING:
    import xarray as xr

    from closerlook.agents.agent import Agent
    from closerlook.agents.environment import EnvironmentSpec

_HERE = "closerlook.diagnostics.landscape"


class Landscape(Diagnostic):
    """Compare the surrogate's landscape with that of the true reward, around an agent.

    Computes the update that the agent's algorithm makes of a batch, and evaluates surrogate and true reward on the
    plane of that step and a random direction, and along the step alone: where each rises, how they agree, how far the
    step may go. These are Figures 5, 6, 7 and 13 to 20 of "A Closer Look at Deep Policy Gradients".

    Beside the usual files stand landscape.html, a page with surfaces to turn, and budgets.svg and budgets.png where the
    pairs of a point make more than one budget (see landscape's documentation).
    """

    name = "landscape"
    line = "does the surrogate point where the true reward is?"
    Options = Options
    Limits = Limits
    variables = VARIABLES
    scaled = ("pairs", "line_pairs", "heldout_pairs", "gradient_pairs")
    fewer = "fewer --pairs or a smaller --grid"

    plan = later(f"{_HERE}.plan", "plan")
    cost = later(f"{_HERE}.measure", "cost")
    measure = later(f"{_HERE}.measure", "measure")
    labels = later(f"{_HERE}.measure", "labels")
    narrowing = Narrowing(
        option="line_pairs",
        interval="the gain of the whole step",
        first=later(f"{_HERE}.measure", "first_analysis"),
        shrink=later(f"{_HERE}.measure", "shrink"),
        half_width=later(f"{_HERE}.summary", "half_width"),
    )

    judge = later(f"{_HERE}.verdicts", "verdicts")
    summary = later(f"{_HERE}.summary", "summary")
    tables = later(f"{_HERE}.tables", "tables_of")
    figures = later(f"{_HERE}.figure", "figures")
    panels = later(f"{_HERE}.panels", "panels")
    pages = later(f"{_HERE}.page", "pages")


DIAGNOSTIC = Landscape()


def landscape(
    agent: "Agent | Sequence[Agent]", environment: "str | EnvironmentSpec | None" = None, **options: Any
) -> "xr.Dataset":
    """Measure surrogate and true reward on a plane through an agent's parameters, and along its first axis.

    Parameters
    ----------
    agent : Agent or sequence of Agent
        Several are measured together; each with draws of its own.
    environment : str or EnvironmentSpec, optional
        A Gymnasium id, or ``module:Id``; default what the agent was trained on.
    **options
        Those of `closerlook.diagnostics.landscape.options.Options`, and how to run it: see `closerlook.run`.

    Returns
    -------
    xarray.Dataset
        Over ``step`` and ``random``, ``line``, and ``agent`` where several were given.

    Raises
    ------
    InputError
        Where the agents differ in regime, a choice means nothing, an axis leads nowhere, of every agent, or the folder
        holds another run.
    NonFiniteError
        Where the agent's own parameters, rewards or observations are not finite, or every agent's updated ones. Points
        that explode are NaN.

    See Also
    --------
    closerlook.plot_landscape : the figure.
    closerlook.trust_region : many updates rather than one.

    References
    ----------
    Ilyas et al., 2020, "A Closer Look at Deep Policy Gradients", section 2.3, Figures 5, 6, 7 and 13 to 20.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import closerlook as cl
    >>> agent = replace(cl.load("atlas/hopper-ppo", iteration=0, seed=0), regime=cl.Regime(n_steps=128))
    >>> small = {"grid": 2, "pairs": 64, "line_pairs": 64, "step_pairs": 512, "heldout_pairs": 512}
    >>> dataset = cl.landscape(agent, axes=("step",), **small, workers=1)
    >>> dataset.line_reward.dims
    ('line',)
    """
    from closerlook.diagnostics.runner import run  # noqa: PLC0415 - results are read without the engines

    return run("landscape", agent, environment, **options)
