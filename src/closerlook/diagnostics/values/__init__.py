"""Values: does the critic know the value, and what is it worth as a baseline."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from closerlook.diagnostics.diagnostic import Diagnostic, Narrowing, later
from closerlook.diagnostics.values.limits import Limits
from closerlook.diagnostics.values.options import Options
from closerlook.diagnostics.values.variables import VARIABLES

if TYPE_CHECKING:
    import xarray as xr

    from closerlook.agents.agent import Agent
    from closerlook.agents.environment import EnvironmentSpec

_HERE = "closerlook.diagnostics.values"


class Values(Diagnostic):
    """Measure how well the critic predicts values, and what it is worth as a baseline.

    Fits a value to returns of fresh pairs: the best critic there is. Then judges the agent's critic, after updates
    on batches of its own and as it is, on held-out pairs beside it; compares gradient estimates with each baseline and
    by each lambda; and restarts the simulator from some states, to tell bias from noise. These are Figures 3, 4, 11
    and 12 of "A Closer Look at Deep Policy Gradients".
    """

    name = "values"
    line = "does the critic know the value, and what is it worth as a baseline?"
    Options = Options
    Limits = Limits
    variables = VARIABLES
    scaled = ("pairs", "fit_pairs")
    fewer = "fewer --pairs or --fit-pairs"

    plan = later(f"{_HERE}.plan", "plan")
    cost = later(f"{_HERE}.measure", "cost")
    together = later(f"{_HERE}.measure", "together")
    measure = later(f"{_HERE}.measure", "measure")
    labels = later(f"{_HERE}.measure", "labels")
    narrowing = Narrowing(
        option="pairs",
        interval="the explained variance of the agent's critic",
        first=later(f"{_HERE}.measure", "first_analysis"),
        shrink=later(f"{_HERE}.measure", "shrink"),
        half_width=later(f"{_HERE}.summary", "half_width"),
    )

    judge = later(f"{_HERE}.verdicts", "verdicts")
    summary = later(f"{_HERE}.summary", "summary")
    tables = later(f"{_HERE}.tables", "tables_of")
    figures = later(f"{_HERE}.figure", "figures")
    panels = later(f"{_HERE}.panels", "panels")


DIAGNOSTIC = Values()


def value_prediction(
    agent: "Agent | Sequence[Agent]", environment: "str | EnvironmentSpec | None" = None, **options: Any
) -> "xr.Dataset":
    """Measure how well an agent's critic predicts values, and what it is worth as a baseline.

    Three things are sampled. Pairs that a value is fitted to: the best critic there is for this policy. Batches
    that the agent's algorithm updates its critic on. And a pool on which the agent's critic, the updated ones and the
    fitted value are judged, and on which gradient estimates with each baseline and each lambda are compared.

    Parameters
    ----------
    agent : Agent or sequence of Agent
        Several are measured together; each with draws of its own.
    environment : str or EnvironmentSpec, optional
        A Gymnasium id, or ``module:Id``; default what the agent was trained on.
    **options
        Those of `closerlook.diagnostics.values.options.Options`, and how to run it: see `closerlook.run`.

    Returns
    -------
    xarray.Dataset
        Over ``size``, ``critic``, ``target``, ``baseline`` and ``lambda``, and ``agent`` where several were given.

    Raises
    ------
    InputError
        Where pairs are too few, agents differ in regime, returns do not come to an end, or the folder holds another
        run.
    NonFiniteError
        Where parameters, rewards, observations or values are not finite.

    See Also
    --------
    closerlook.plot_value_prediction : the figure.
    closerlook.CriticAudit : the same at every update of training.

    References
    ----------
    Ilyas et al., 2020, "A Closer Look at Deep Policy Gradients", section 2.2, Figures 3, 4, 11 and 12.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import closerlook as cl
    >>> agent = replace(cl.load("atlas/hopper-ppo", iteration=0, seed=0), regime=cl.Regime(n_steps=128))
    >>> small = {"pairs": 1024, "fit_pairs": 0, "estimates": 2, "sizes": (512,), "updates": 1, "restarts": 0}
    >>> dataset = cl.value_prediction(agent, **small, workers=1)
    >>> dataset.mean_relative_error.dims
    ('critic', 'target')
    """
    from closerlook.diagnostics.runner import run  # noqa: PLC0415 - results are read without the engines

    return run("values", agent, environment, **options)
