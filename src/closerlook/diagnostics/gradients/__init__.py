"""Gradient quality: how much independent estimates of the policy gradient agree, and at how many pairs.

One pool of streams is sampled for each agent. Workers answer with sums (`closerlook.measurements.stream_sums`), from
which every size's disjoint estimates follow; their mean pairwise cosine is Figure 1 of Ilyas et al. (2020).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from closerlook.diagnostics.diagnostic import Diagnostic, Narrowing, later
from closerlook.diagnostics.gradients.limits import Limits
from closerlook.diagnostics.gradients.options import Options
from closerlook.diagnostics.gradients.variables import VARIABLES

if TYPE_CHECKING:
    import xarray as xr

    from closerlook.agents.agent import Agent
    from closerlook.agents.environment import EnvironmentSpec

_HERE = "closerlook.diagnostics.gradients"


class Gradients(Diagnostic):
    """Measure how well independent estimates of the policy gradient agree.

    Samples a pool of state-action pairs with each agent, cuts it into disjoint estimates of several sizes, and takes
    the mean cosine similarity of all pairs of estimates: near 1 where estimates of that size hardly vary, near 0
    where they are mostly noise. This is Figure 1 of "A Closer Look at Deep Policy Gradients".
    """

    name = "gradients"
    line = "how well do independent estimates of the policy gradient agree?"
    Options = Options
    Limits = Limits
    variables = VARIABLES

    plan = later(f"{_HERE}.measure", "plan")
    cost = later(f"{_HERE}.measure", "cost")
    together = later(f"{_HERE}.measure", "together")
    measure = later(f"{_HERE}.measure", "measure")
    labels = later(f"{_HERE}.measure", "labels")
    narrowing = Narrowing(
        option="pairs",
        interval="the pairwise cosine in question",
        first=later(f"{_HERE}.measure", "first_analysis"),
        shrink=later(f"{_HERE}.measure", "shrink"),
        half_width=later(f"{_HERE}.summary", "half_width"),
    )

    judge = later(f"{_HERE}.verdicts", "verdicts")
    summary = later(f"{_HERE}.summary", "summary")
    tables = later(f"{_HERE}.tables", "tables_of")
    figures = later(f"{_HERE}.figure", "figures")
    panels = later(f"{_HERE}.panels", "panels")


DIAGNOSTIC = Gradients()


def gradient_quality(
    agent: "Agent | Sequence[Agent]", environment: "str | EnvironmentSpec | None" = None, **options: Any
) -> "xr.Dataset":
    """Measure how well disjoint estimates of the policy gradient agree, for estimates of several sizes.

    The estimate is the gradient, at the agent's parameters, of the surrogate ``mean(ratio * A)``: what the first step
    of its algorithm would follow. Agreement is the mean cosine similarity of all pairs of estimates: near 1 where
    estimates of that size hardly vary, near 0 where they are mostly noise. Small values are usual at the batch that
    trains an agent.

    Parameters
    ----------
    agent : Agent or sequence of Agent
        Several are measured together; each with draws of its own.
    environment : str or EnvironmentSpec, optional
        A Gymnasium id, or ``module:Id``; default what the agent was trained on.
    **options
        Those of `closerlook.diagnostics.gradients.options.Options`, and how to run it: see `closerlook.run`.

    Returns
    -------
    xarray.Dataset
        Over ``size``, and ``agent`` where several were given.

    Raises
    ------
    InputError
        Where pairs are too few for the sizes, agents differ in regime, or the folder holds another run.
    NonFiniteError
        Where parameters, rewards, observations or advantages are not finite.

    See Also
    --------
    closerlook.plot_gradient_quality : the figure.
    closerlook.verdicts : what the numbers mean.

    References
    ----------
    Ilyas et al., 2020, "A Closer Look at Deep Policy Gradients", section 2.1, Figures 1 and 9.

    Examples
    --------
    >>> import closerlook as cl
    >>> agent = cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    >>> dataset = cl.gradient_quality(agent, pairs=4096, estimates=2, sizes=(128, 2048), workers=1)
    >>> dataset.pairwise_cosine.dims
    ('size',)
    """
    from closerlook.diagnostics.runner import run  # noqa: PLC0415 - results are read without the engines

    return run("gradients", agent, environment, **options)
