"""Trust regions: does the step do what its constraint and its model predict."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from closerlook.diagnostics.diagnostic import Diagnostic, Narrowing, later
from closerlook.diagnostics.trust_region.limits import Limits
from closerlook.diagnostics.trust_region.options import Options
from closerlook.diagnostics.trust_region.variables import VARIABLES

if TYPE_CHECKING:
    import xarray as xr

    from closerlook.agents.agent import Agent
    from closerlook.agents.environment import EnvironmentSpec

_HERE = "closerlook.diagnostics.trust_region"


class TrustRegion(Diagnostic):
    """Take an agent's update many times, and measure what each does to policy and reward.

    Each update has a batch of its own. Measures at the step it makes: divergences and ratios on that batch and on
    held-out pairs, the quadratic model of the divergence, the improvement that gradient and surrogate predict and the
    one that comes; how all of it grows over PPO's minibatches or what TRPO's conjugate gradient and line search leave;
    and how long a step would serve best. Appendix A.1 of "A Closer Look at Deep Policy Gradients", taken at its word.
    """

    name = "trust-region"
    line = "does the step do what its constraint and its model predict?"
    Options = Options
    Limits = Limits
    variables = VARIABLES
    scaled = ("pairs", "return_pairs")
    fewer = "fewer --repeats, --pairs or --return-pairs"

    plan = later(f"{_HERE}.plan", "plan")
    cost = later(f"{_HERE}.measure", "cost")
    measure = later(f"{_HERE}.measure", "measure")
    labels = later(f"{_HERE}.measure", "labels")
    narrowing = Narrowing(
        option="repeats",
        interval="the mean true improvement",
        first=later(f"{_HERE}.measure", "first_analysis"),
        shrink=later(f"{_HERE}.measure", "shrink"),
        half_width=later(f"{_HERE}.summary", "half_width"),
    )

    judge = later(f"{_HERE}.verdicts", "verdicts")
    summary = later(f"{_HERE}.summary", "summary")
    tables = later(f"{_HERE}.tables", "tables_of")
    figures = later(f"{_HERE}.figure", "figures")
    panels = later(f"{_HERE}.panels", "panels")


DIAGNOSTIC = TrustRegion()


def trust_region(
    agent: "Agent | Sequence[Agent]", environment: "str | EnvironmentSpec | None" = None, **options: Any
) -> "xr.Dataset":
    """Take an agent's update many times, each from a fresh batch, and measure what each does to policy and reward.

    Parameters
    ----------
    agent : Agent or sequence of Agent
        Several are measured together; each with draws of its own.
    environment : str or EnvironmentSpec, optional
        A Gymnasium id, or ``module:Id``; default what the agent was trained on.
    **options
        Those of `closerlook.diagnostics.trust_region.options.Options`, and how to run it: see `closerlook.run`.

    Returns
    -------
    xarray.Dataset
        Over ``repeat`` and ``multiple``, and ``agent`` where several were given.

    Raises
    ------
    InputError
        Where the agents differ in regime, a choice means nothing, or the folder holds another run.
    NonFiniteError
        Where the agent's own parameters, rewards or observations are not finite. Updates that overflow are counted.

    See Also
    --------
    closerlook.plot_trust_region : the figure.
    closerlook.TrustRegionAudit : the cheap part of it at every update of training.

    References
    ----------
    Ilyas et al., 2020, "A Closer Look at Deep Policy Gradients", appendix A.1.
    Schulman et al., 2015, "Trust Region Policy Optimization"; 2017, "Proximal Policy Optimization Algorithms".

    Examples
    --------
    >>> from dataclasses import replace
    >>> import closerlook as cl
    >>> agent = replace(cl.load("atlas/hopper-ppo", iteration=0, seed=0), regime=cl.Regime(n_steps=128))
    >>> small = {"repeats": 1, "pairs": 512, "step_pairs": 512, "return_pairs": 0, "multiples": (1,)}
    >>> dataset = cl.trust_region(agent, **small, workers=1)
    >>> dataset.mean_kl_heldout.dims
    ('repeat',)
    """
    from closerlook.diagnostics.runner import run  # noqa: PLC0415 - results are read without the engines

    return run("trust-region", agent, environment, **options)
