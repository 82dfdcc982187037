"""What has to be known of users' networks before they are measured, found at observations that environments give.

Zeros or normal draws are no observations to some of them: states that are whole numbers, masks of which one is open.

====== =====================================
symbol meaning
====== =====================================
K      observations that are tried
====== =====================================
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from closerlook.agents.agent import Agent
from closerlook.agents.modules import named
from closerlook.agents.policies import ModulePolicy, ModuleValue, Policy
from closerlook.errors import InputError, PolicyError
from closerlook.nn.distributions import recognize
from closerlook.nn.networks import Parameters
from closerlook.randomness import generator

ALIKE = 1e-5
"""How far a row's answer may differ beside other rows, relative to the largest answer: products of one row and of many
differ in the last bits."""


def is_tried(policy: Policy) -> bool:
    """Whether all that has to be known of a policy is known."""
    return not isinstance(policy, ModulePolicy) or policy.example is not None


def example_of(policy: Policy) -> Tensor:
    """Return one policy input that a policy can be asked about, (1, obs)."""
    example: Tensor | None = getattr(policy, "example", None)
    return torch.zeros(1, policy.observation_size or 0) if example is None else example[:1]


def try_out(agents: Agent, inputs: np.ndarray, name: str, *, recurs: bool = True) -> Agent:
    """Try an agent's networks, and let its policy remember at what; of a population, the first member's.

    Parameters
    ----------
    agents : Agent
        A single one, or a population. One whose policy is not a user's module is returned as it is.
    inputs : ndarray, (K, obs), float32
        Policy inputs that its environment gives.
    name : str
        The environment's, for messages.
    recurs : bool
        Whether it gives the same ones each time.

    Raises
    ------
    InputError
        Where the policy takes observations of another size; where it answers the same ones in two ways; where what it,
        its distribution or the critic answers to a row depends on the other rows.
    PolicyError
        Where it fails.
    """
    policy = agents.policy
    if not isinstance(policy, ModulePolicy):
        return agents
    first, rows = agents.unstack()[0], torch.from_numpy(inputs)
    rows = rows if len(rows) > 1 else rows.repeat(2, 1)  # one that is repeated tells whether its place matters
    sized = replace(policy, observation_size=inputs.shape[1], size_is_given=True, example=rows, example_recurs=recurs)
    if policy.size_is_given and policy.observation_size != inputs.shape[1]:
        raise _other_size(policy, inputs.shape[1], name)
    parameters, critic = first.policy_parameters, first.value
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one row, say, that has no deviation; what comes of it is found
        try:
            sized.distribution(parameters, rows)
        except PolicyError as error:
            if policy.observation_size in (None, inputs.shape[1]):
                raise
            raise _other_size(policy, inputs.shape[1], name) from error
        _require_one_answer(sized, parameters, rows)
        _require_rows_alone("policy", lambda some: tree_leaves(sized.answers(parameters, some)), rows)
        _require_distribution_alone(sized, parameters, rows)
        if isinstance(critic, ModuleValue):
            _require_rows_alone("critic", lambda some: [critic(first.value_parameters, some)], rows)
    return replace(agents, policy=sized)


def warn_of_unreached(agent: Agent) -> None:
    """Say which parameters a tried policy's distribution does not depend on, by torch's graph.

    Raises
    ------
    InputError
        Where it depends on none.
    """
    policy = agent.policy
    if not isinstance(policy, ModulePolicy) or policy.example is None:
        return
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in agent.policy_parameters.items()}
    actions = torch.from_numpy(_actions(policy, agent.policy_parameters, policy.example))
    with torch.enable_grad():
        # a parameter whose derivative of log pi is None is not part of the graph at all; one that is zero somewhere is
        density = policy.distribution(leaves, policy.example).log_prob(actions).sum()
    slopes: Sequence[Tensor | None] = [None] * len(leaves)
    if density.requires_grad:
        slopes = torch.autograd.grad(density, list(leaves.values()), allow_unused=True)
    unreached = [name for name, slope in zip(leaves, slopes, strict=True) if slope is None]
    hint = "let forward() return what they decide, and distribution use that alone"
    if len(unreached) == len(leaves):
        what = f"no parameter of the policy reaches its distribution ({named(unreached)}), so it has no gradient"
        raise InputError(what, f"{hint}, without detach() or no_grad()")
    if unreached:
        does = "does" if len(unreached) == 1 else "do"
        what = f"{named(unreached)} of the policy {does} not reach its distribution, so that its gradient there is 0"
        warnings.warn(f"{what}; {hint}, or freeze them (requires_grad=False)", stacklevel=4)


def draw_noise(policy: Policy, rows: int, draws: np.random.Generator) -> np.ndarray:
    """Draw what a policy of a population of one needs to act at some rows: (1, rows, size).

    Parameters
    ----------
    policy : Policy
        Its ``noise`` says what kind, and how many numbers for an action.
    rows : int
        Actions.
    draws : numpy.random.Generator
        Where the draws come from.
    """
    shape = (1, rows, policy.noise.size)
    if policy.noise.kind == "seed":
        return draws.integers(2**31, size=shape)
    return draws.standard_normal(shape) if policy.noise.kind == "normal" else draws.random(shape)


def _other_size(policy: ModulePolicy, there: int, name: str) -> InputError:
    taken = f"the agent's policy takes observations of {policy.observation_size} numbers"
    read = "" if policy.size_is_given else ", as its first layer does"
    hint = "measure it on the environment it was made for, or give its size to Agent.from_torch (observation_size=...)"
    return InputError(f"{taken}{read}, {name} gives {there}", hint)


def _actions(policy: ModulePolicy, parameters: Parameters, rows: Tensor) -> np.ndarray:
    noise = draw_noise(policy, len(rows), generator(0, "trial"))
    stacked = {name: tensor[None] for name, tensor in parameters.items()}
    actions = policy.actor(stacked)(rows[None].numpy(), noise)[0]
    return np.asarray(actions, np.float32 if np.issubdtype(actions.dtype, np.floating) else np.int64)


def _require_one_answer(policy: ModulePolicy, parameters: Parameters, rows: Tensor) -> None:
    once, again = (tree_leaves(policy.answers(parameters, rows)) for _ in range(2))
    if not all(torch.equal(one.nan_to_num(), two.nan_to_num()) for one, two in zip(once, again, strict=True)):
        what = "the agent's policy answers the same observations in two ways, so that its gradient is not defined"
        raise InputError(what, "take what is random (dropout, noise) or remembered out of its forward()")


def _require_rows_alone(name: str, answer: Callable[[Tensor], list[Tensor]], rows: Tensor) -> None:
    """Ask for rows in a batch, in another order, and each alone."""
    whole, turned = answer(rows), answer(rows.flip(0))
    try:
        alone = [answer(row[None]) for row in rows]
    except InputError as error:
        raise _dependent(name) from error
    for at, leaf in enumerate(whole):
        _require_alike(name, leaf, turned[at].flip(0))
        _require_alike(name, leaf, torch.cat([one[at] for one in alone]))


def _require_distribution_alone(policy: ModulePolicy, parameters: Parameters, rows: Tensor) -> None:
    """Ask the distribution of all rows, and that of each, for the density of an action."""
    outputs, actions = policy.answers(parameters, rows), torch.from_numpy(_actions(policy, parameters, rows))
    alone = []
    for row in range(len(rows)):
        one: Any = tree_map(lambda leaf, row=row: leaf[row : row + 1], outputs)
        alone.append(recognize(one, policy.build, (1,)).log_prob(actions[row : row + 1]))
    _require_alike("policy", recognize(outputs, policy.build, (len(rows),)).log_prob(actions), torch.cat(alone))


def _require_alike(name: str, whole: Tensor, other: Tensor) -> None:
    finite = whole[torch.isfinite(whole)]
    largest = float(finite.abs().max()) if len(finite) else 0.0
    if whole.shape != other.shape or not torch.allclose(whole, other, rtol=ALIKE, atol=ALIKE * largest, equal_nan=True):
        raise _dependent(name)


def _dependent(name: str) -> InputError:
    what = f"the agent's {name} answers an observation otherwise alone than among others, or in another order"
    hint = (
        "let each row of [N, obs] be answered for itself: no statistics of the batch, and a recurrent layer given "
        "[N, 1, obs] with batch_first=True"
    )
    return InputError(what, hint)
