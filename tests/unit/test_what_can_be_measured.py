"""Every row on environments of docs/what_can_be_measured.md is what it says, in these words."""

import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec
from closerlook.errors import InputError
from closerlook.nn.distributions import IndependentBernoulli, MultiCategorical
from closerlook.simulation.engine import describe_environment
from closerlook.simulation.records import Sampling
from closerlook.simulation.restarts import require_restarts
from closerlook.simulation.rollout import rollout
from odd_environments import Plain
from small_agents import categorical_agent, gaussian_agent

PAGE = Path(__file__).parents[2] / "docs" / "what_can_be_measured.md"


def sample(name: str, agent: Agent | None = None, **arguments: Any) -> str:
    """Measure as diagnostics begin to: the trial, then streams; return how."""
    spec = EnvironmentSpec(name if ":" in name or "-v" in name else f"odd_environments:{name}", arguments)
    described = describe_environment(spec)
    if agent is None:
        agent = gaussian_agent(described["observation_size"], 1, action_transform="clip")
    sampled = rollout(agent, spec, Sampling(12), seeds=[0], purpose="test", streams=[0])
    assert np.isfinite(sampled.rewards).all()
    return "fast" if described["engine"] == "mujoco" else "measured"


def several_agent(outputs: int, distribution: Callable[[torch.Tensor], Any]) -> Agent:
    """Return an agent of several choices that sees three numbers."""
    return Agent.from_torch(torch.nn.Linear(3, outputs), distribution=distribution)


def choices(logits: torch.Tensor) -> MultiCategorical:
    """Return the choices of `several_choices`."""
    return MultiCategorical(logits, (3, 2))


def choices_alike(logits: torch.Tensor, most: int, *, masked: bool = False) -> Independent:
    """Return two choices of equally many possibilities, of which the second has but two."""
    each = logits.reshape(-1, 2, most)
    if masked:
        each = each.masked_fill(torch.tensor([[False] * most, [False, False, True]]), -torch.inf)
    return Independent(Categorical(logits=each), 1)


def alike(found: Iterable[str]) -> str:
    """Return what all of these are."""
    (one,) = set(found)
    return one


def several(*names: str, **arguments: Any) -> str:
    return alike(sample(name, **arguments) for name in names)


def boxed(dtype: str, *transforms: str, low: float = -1.0, high: float = 1.0) -> str:
    agents = [gaussian_agent(3, 1, action_transform=transform) for transform in transforms]
    return alike(sample("boxed", agent, low=[low], high=[high], dtype=dtype) for agent in agents)


def task(name: str) -> str:
    described = describe_environment(EnvironmentSpec(name))
    return sample(name, gaussian_agent(described["observation_size"], described["action_space"]["shape"][0]))


def registered() -> str:
    gymnasium.register("Own-v0", entry_point=Plain)
    try:
        return sample("Own-v0")
    finally:
        del gymnasium.registry["Own-v0"]


def from_file(name: str, **arguments: Any) -> None:
    describe_environment(EnvironmentSpec(name, arguments, trusted=False))


def restarts(name: str) -> str:
    require_restarts(EnvironmentSpec(f"odd_environments:{name}"))
    return "measured"


def each(*tries: Callable[[], Any]) -> None:
    """Raise what all of these are refused with, in one."""
    said = []
    for attempt in tries:
        with pytest.raises(InputError) as caught:
            attempt()
        said.append(str(caught.value))
    raise InputError(" | ".join(said), "")


TASKS = [f"{name}-v5" for name in ("Hopper", "Walker2d", "Humanoid", "HalfCheetah", "Ant", "Swimmer")]

CASES: dict[str, Callable[[], Any]] = {
    "Hopper, Walker2d, Humanoid, HalfCheetah, Ant, Swimmer v5": lambda: alike(task(name) for name in TASKS),
    "any other Gymnasium id": lambda: sample("Pendulum-v1"),
    "an id registered in the script or notebook itself": registered,
    "`module:function` that returns an environment": lambda: several("normalized_rewards", frozen=True),
    "a name in an agent's file, `module:Id`": lambda: from_file("odd_environments:Plain"),
    "arguments in an agent's file that are not a task's own": lambda: from_file("Hopper-v5", xml_file="x.xml"),
    "an argument that is an object or an array": lambda: sample("choices", n=np.zeros(2)),
    "an episode of one step": lambda: sample("Short"),
    "an episode without end": lambda: sample("Endless"),
    "one that raises in mid-episode": lambda: sample("FailsLater"),
    "reset seeds of 31 bits at most": lambda: several("Narrow", "Legacy"),
    "`Box` of any shape (flattened)": lambda: sample("tiny_environments:Drift", gaussian_agent(4, 2)),
    "`Discrete`, as one number in as many places": lambda: sample("FrozenLake-v1", categorical_agent(16, 4)),
    "`Dict`, `Tuple`, flattened": lambda: alike([sample("Parts"), sample("Blackjack-v1", categorical_agent(45, 2))]),
    "`FlattenObservation` over these": lambda: sample("grid", categorical_agent(16, 4)),
    "a `Box` without components": lambda: sample("tiny_environments:Blind"),
    "`Box` of float32": lambda: boxed("float32", "none", "clip", "squash", low=-9, high=9),
    "`Box` of float64 or float16, clipped or squashed in its own type": lambda: alike(
        boxed(dtype, "clip", "squash", low=-0.1, high=0.1) for dtype in ("float64", "float16")
    ),
    "`Box` of whole numbers, rounded and clipped": lambda: boxed("int64", "clip", "squash"),
    '`Box` of whole numbers, `action_transform="none"`': lambda: boxed("uint8", "none", low=0),
    "an unbounded `Box`, squashed": lambda: sample("Free", gaussian_agent(3, 1, action_transform="squash")),
    "`Discrete`, from any start": lambda: sample("choices", categorical_agent(3, 3), start=-1),
    "`MultiDiscrete`, `MultiBinary`": lambda: alike(
        [
            sample("several_choices", several_agent(5, choices)),
            sample("several_choices", several_agent(6, lambda logits: choices_alike(logits, 3, masked=True))),
            sample("switches", several_agent(3, IndependentBernoulli)),
            sample("switches", several_agent(3, lambda logits: Independent(Bernoulli(logits=logits), 1))),
        ]
    ),
    "`MultiDiscrete`, and a distribution over more choices": lambda: sample(
        "several_choices", several_agent(6, lambda logits: choices_alike(logits, 3))
    ),
    'a `Box` that the environment checks, `action_transform="none"`': lambda: boxed(
        "float32", "none", low=-0.01, high=0.01
    ),
    "lists, tensors and arrays of one element that are right": lambda: sample("Answers", field=1, what=[2.0]),
    "an observation of another size": lambda: sample("Answers", field=0, what=[0.0]),
    "an observation beyond single precision": lambda: sample("Answers", field=0, what=[1e300, 0.0, 0.0]),
    "complex observations": lambda: sample("ComplexSight"),
    "a reward that is a text or `None`": lambda: each(
        *(lambda what=what: sample("Answers", field=1, what=what) for what in ("1", None))
    ),
    "`terminated` that is a text or `None`": lambda: each(
        *(lambda what=what: sample("Answers", field=2, what=what) for what in ("False", None))
    ),
    "`TimeLimit` (lifted, and applied by closerlook)": lambda: sample("tiny_environments:limited_corridor", limit=5),
    "`NormalizeObservation` that goes on learning": lambda: sample("normalized_observations"),
    "`NormalizeReward` that goes on learning": lambda: sample("normalized_rewards"),
    "either with `update_running_mean = False`": lambda: several(
        "normalized_observations", "normalized_rewards", frozen=True
    ),
    "any other that remembers across resets": lambda: each(*(lambda n=n: sample(n) for n in ("scaled", "Curriculum"))),
    "`self.np_random`": lambda: restarts("Plain"),
    "NumPy, `random` or torch generators of its own, seeded in `reset`": lambda: alike(
        restarts(name) for name in ("OwnGenerator", "Legacy", "Bits", "Torch")
    ),
    "a generator that a function of it closes over, restarted": lambda: restarts("InAFunction"),
    "noise from what is no generator, restarted": lambda: restarts("Hidden"),
    "a global generator": lambda: sample("Global"),
}


def rows() -> dict[str, tuple[str, str]]:
    """Return the rows of the tables on environments: what, outcome, words."""
    lines = PAGE.read_text().partition("## Distributions")[0].splitlines()
    cells = [re.split(r"\s*\|\s*", line.strip("| ")) for line in lines if line.startswith("| ")]
    return {row[0]: (row[1], row[2] if len(row) > 2 else "") for row in cells if row[0] not in {"What", "---"}}


def test_every_row_has_a_case_and_every_case_a_row():
    assert list(rows()) == list(CASES)
    assert {outcome for outcome, _ in rows().values()} == {"fast", "measured", "refused", "warned of"}


@pytest.mark.parametrize("what", CASES)
def test_a_row_is_what_it_says(what):
    outcome, words = rows()[what]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if outcome == "refused":
            with pytest.raises(InputError) as caught:
                CASES[what]()
            assert all(words in line for line in str(caught.value).removesuffix("; ").split(" | "))
        else:
            assert CASES[what]() == ("fast" if outcome == "fast" else "measured")
    assert bool(told) == (outcome == "warned of")
    assert all(words in str(warning.message) for warning in told)
