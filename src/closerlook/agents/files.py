"""Agents on disk: a folder with ``agent.json`` (what it is) and ``state.safetensors`` (its numbers).

An agent may also be kept packed: its numbers are then in ``state.packed`` (see `closerlook.agents.packing`).

Nothing in these files is code and nothing in them names a file, so an agent from anywhere can be opened; whatever is
not exactly as expected is refused.

``agent.json``::

    {"format_version": 1,
     "policy": {"kind": "gaussian", "sizes": [11, 64, 64, 3], "activation": "tanh"},
     "value": {"kind": "value", "sizes": [11, 64, 64, 1], "activation": "tanh"} or null,
     "digest": BLAKE2b of state.safetensors (of what is packed in state.packed),
     ... the other fields of Agent}

``state.safetensors`` holds one tensor for each name of `closerlook.agents.agent.State`.
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from closerlook.agents.agent import CHOICES, Agent, Regime
from closerlook.agents.environment import FROM_FILES, EnvironmentSpec, is_argument_from_file
from closerlook.agents.normalization import Scaling
from closerlook.agents.packing import pack, unpack
from closerlook.agents.policies import CategoricalMLP, GaussianMLP, MLPValue, Policy, Value
from closerlook.agents.state_checks import check_state
from closerlook.arguments import SHORT_NAMES, is_finite
from closerlook.errors import InputError
from closerlook.nn.networks import MLP
from closerlook.results.writing import plain_errors, write_bytes

FORMAT_VERSION = 1
DESCRIPTION, STATE, PACKED = "agent.json", "state.safetensors", "state.packed"

_LONGEST_DESCRIPTION = 1_000_000
_ALWAYS_ROOM, _MOST_GROWTH = 64_000_000, 100
"""Bytes that a packed state may have, and how many more for each byte of its file: weights hardly shrink."""
WIDEST = 1_000_000
"""Units of a layer, at most."""
MOST_LAYERS = 98
"""Hidden layers, at most."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.+-]{0,39}")
"""What an algorithm may be called: its name stands in figures, tables and pages."""
_ID = re.compile(r"[\w.:/-]{1,200}")
"""Letters, digits and the signs that ids of Gymnasium and names of modules have."""
_MOST_OF: dict[str, int] = {
    "policy_epochs": 1000,
    "value_epochs": 1000,
    "minibatches": 10**6,
    "cg_steps": 1000,
    "backtracks": 1000,
    "total_iterations": 10**9,
}
"""Settings of algorithms that are whole numbers; with more, an update would hardly come to an end."""
_OPTIMIZERS = ("adam", "sgd")
_LARGEST_SETTING = 1e9
_MOST_STEPS, _MOST_ENVS = 10**8, 10**5
_POLICIES: dict[str, type[GaussianMLP] | type[CategoricalMLP]] = {
    "gaussian": GaussianMLP,
    "categorical": CategoricalMLP,
}
_HINT = "use another copy of it, or train it again"


def save_agent(agent: Agent, folder: str | Path, *, optimizer: bool = True, packed: bool = False) -> Path:
    """Write a single agent into a folder, each file whole or not at all.

    Parameters
    ----------
    agent : Agent
        A single one.
    folder : str or Path
        Made where it does not exist.
    optimizer : bool
        Whether the optimizer's state is kept: it triples the size, and only the next update needs it.
    packed : bool
        Compress the numbers, without loss.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        Where its networks are code (they cannot be written), it is a population, or the disk refuses.

    See Also
    --------
    closerlook.load_agent : the reverse.

    Examples
    --------
    >>> import tempfile
    >>> import closerlook as cl
    >>> agent = cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = cl.load_agent(cl.save_agent(agent, folder))
    >>> bool((again.state["policy.0.weight"] == agent.state["policy.0.weight"]).all())
    True
    """
    if agent.population is not None:
        raise InputError("a population cannot be saved as one agent", "save each of population.unstack()")
    if agent.algorithm is not None and not _PLAIN_NAME.fullmatch(agent.algorithm):
        what = f"algorithm of the agent is {agent.algorithm!r:.60}"
        raise InputError(what, "give a name of at most 40 letters, digits, spaces and _ . + -")
    # weights in safetensors, all else in JSON: nothing that is read back can run
    folder = Path(folder)
    # clones, because tensors that share memory are refused
    own = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in agent.state.items()
        if optimizer or not name.startswith("optimizer.")
    }
    state = save_tensors(own)
    text = json.dumps(_description(agent) | {"digest": _digest(state)}, indent=2, allow_nan=False)
    content, name = (pack(state), PACKED) if packed else (state, STATE)
    write_bytes(folder / name, content)
    write_bytes(folder / DESCRIPTION, f"{text}\n".encode())
    return folder


def load_agent(folder: str | Path) -> Agent:
    """Read a single agent from its folder.

    Raises
    ------
    InputError
        Where a file is missing, damaged, of another format version, or holds anything but a whole agent.

    See Also
    --------
    closerlook.save_agent : the reverse.
    closerlook.load : an agent of a run, or of another library.

    Examples
    --------
    >>> import closerlook as cl
    >>> cl.load_agent("atlas/hopper-ppo/checkpoints/000150/03").agent_seed
    3
    """
    folder = Path(folder)
    description = _read_description(folder / DESCRIPTION)
    agent = _agent_of(description, folder / DESCRIPTION)
    return dataclasses.replace(agent, state=_read_state(folder / STATE, description["digest"], agent))


def delete_agent(folder: Path) -> None:
    """Delete the files of one agent, and its folder where nothing else is in it.

    Raises
    ------
    InputError
        Where they cannot be deleted.
    """
    with plain_errors(folder):
        for name in (DESCRIPTION, STATE, PACKED):
            (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # it holds something else, or its parent does
        folder.rmdir()
        folder.parent.rmdir()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _description(agent: Agent) -> dict[str, Any]:
    as_is = ("gamma", "gae_lambda", "action_transform", "normalize_advantages", "bootstrap", "value_target")
    named = ("algorithm", "iteration", "agent_seed")
    scalings = {name: getattr(agent, name) for name in ("observation_scaling", "reward_scaling")}
    return {
        "format_version": FORMAT_VERSION,
        "policy": _architecture(agent.policy),
        "value": None if agent.value is None else _architecture(agent.value),
        **{name: getattr(agent, name) for name in (*as_is, *named)},
        **{name: None if scaling is None else dataclasses.asdict(scaling) for name, scaling in scalings.items()},
        "algorithm_settings": dict(agent.algorithm_settings),
        "regime": dataclasses.asdict(agent.regime),
        "environment": None if agent.environment is None else agent.environment.to_json(),
    }


def _architecture(part: Policy | Value) -> dict[str, Any]:
    if not isinstance(part, GaussianMLP | CategoricalMLP | MLPValue):
        raise InputError(
            f"an agent whose networks are code ({type(part).__name__}) cannot be saved",
            "name it by package.module:function instead",
        )
    kind = {GaussianMLP: "gaussian", CategoricalMLP: "categorical", MLPValue: "value"}[type(part)]
    return {"kind": kind, "sizes": list(part.network.sizes), "activation": part.network.activation}


def _read_description(path: Path) -> dict[str, Any]:
    content = _read(path, longest=_LONGEST_DESCRIPTION)
    try:
        description = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not readable JSON", _HINT) from None
    if not isinstance(description, dict) or "format_version" not in description:
        raise InputError(f"{path} does not describe an agent", "give the folder of a checkpoint")
    version = description["format_version"]
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise InputError(
            f"{path} has format version {version!r:.40}, this closerlook reads {FORMAT_VERSION}",
            "use the closerlook that wrote it",
        )
    return description


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _read(path: Path, *, longest: int) -> bytes:
    try:
        if not path.is_file():
            raise InputError(f"{path} does not exist", "give the folder of a checkpoint")
        if path.stat().st_size > longest:
            raise InputError(f"{path} is longer than that of such an agent can be", _HINT)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error})", "check the path and its permissions") from None


def _longest_state(agent: Agent) -> int:
    """Return how many bytes the numbers of such an agent, its optimizer's among them, have at most."""
    shapes = [*agent.policy.parameter_shapes.values(), *(agent.value.parameter_shapes.values() if agent.value else ())]
    parameters: int = sum(math.prod(shape) for shape in shapes)
    return 1_000_000 + 12 * parameters + 16 * int(shapes[0][-1])


def _read_packed(path: Path, longest: int) -> bytes:
    packed = _read(path, longest=longest)
    try:
        return unpack(packed, longest=min(longest, _ALWAYS_ROOM + _MOST_GROWTH * len(packed)))
    except (ValueError, MemoryError):
        raise InputError(f"{path} is damaged", _HINT) from None


class _Fields:
    """The fields of a JSON object, each taken with its check; the error names the file and the field."""

    def __init__(self, content: Any, where: str) -> None:
        self.where = where
        if not isinstance(content, dict):
            raise self.wrong("")
        self.content: dict[str, Any] = content

    def wrong(self, name: str) -> InputError:
        spelled = f": {name!r:.60}" if name and not name.isidentifier() else f": {name[:60]}" if name else ""
        return InputError(f"{self.where}{spelled} is missing or is not what it should be", _HINT)

    def inner(self, name: str) -> "_Fields":
        return _Fields(self.content.get(name), f"{self.where}: {name}")

    def given(self, name: str) -> bool:
        return self.content.get(name) is not None

    def number(self, name: str, low: float, high: float) -> float:
        value = self.content.get(name)
        infinite = isinstance(value, float) and math.isinf(value)
        if not (is_finite(value) or infinite) or not low <= value <= high:  # type: ignore[operator]
            raise self.wrong(name)
        return float(value)  # type: ignore[arg-type]

    def whole(self, name: str, low: int, high: int = 2**63 - 1) -> int:
        value = self.content.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name)
        return value

    def flag(self, name: str) -> bool:
        if not isinstance(self.content.get(name), bool):
            raise self.wrong(name)
        return bool(self.content[name])

    def text(self, name: str, choices: tuple[str, ...] | None = None) -> Any:
        value = self.content.get(name)
        if not isinstance(value, str) or (choices is not None and value not in choices):
            raise self.wrong(name)
        return value

    def name(self, name: str, form: re.Pattern[str]) -> str:
        value = self.content.get(name)
        if not isinstance(value, str) or form.fullmatch(value) is None:
            raise self.wrong(name)
        return value

    def sizes(self, name: str) -> tuple[int, ...]:
        value = self.content.get(name)
        if not isinstance(value, list) or not 2 <= len(value) <= MOST_LAYERS + 2:
            raise self.wrong(name)
        whole = all(isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= WIDEST for size in value)
        if not whole:
            raise self.wrong(name)
        return tuple(value)


def _agent_of(description: Mapping[str, Any], path: Path) -> Agent:
    """Build the agent that a description tells of, its state still empty."""
    fields = _Fields(description, str(path))
    fields.text("digest")
    policy = fields.inner("policy")
    sizes = policy.sizes("sizes")
    return Agent(
        policy=_POLICIES[policy.text("kind", tuple(_POLICIES))](_network(policy)),
        value=_value(fields, sizes[0]) if fields.given("value") else None,
        state={},
        gamma=fields.number("gamma", 0.0, 1.0),
        gae_lambda=fields.number("gae_lambda", 0.0, 1.0),
        observation_scaling=_scaling(fields, "observation_scaling"),
        reward_scaling=_scaling(fields, "reward_scaling"),
        action_transform=fields.text("action_transform", CHOICES["action_transform"]),
        normalize_advantages=fields.flag("normalize_advantages"),
        bootstrap=fields.text("bootstrap", CHOICES["bootstrap"]) if fields.given("bootstrap") else "correct",
        value_target=fields.text("value_target", CHOICES["value_target"]) if fields.given("value_target") else "gae",
        algorithm=fields.name("algorithm", _PLAIN_NAME) if fields.given("algorithm") else None,
        algorithm_settings=_settings(fields.inner("algorithm_settings")),
        regime=_regime(fields.inner("regime")),
        environment=_environment(fields.inner("environment")) if fields.given("environment") else None,
        iteration=fields.whole("iteration", 0) if fields.given("iteration") else None,
        agent_seed=fields.whole("agent_seed", 0) if fields.given("agent_seed") else None,
    )


def _network(fields: _Fields) -> MLP:
    return MLP(fields.sizes("sizes"), fields.text("activation", ("tanh", "relu")))


def _value(fields: _Fields, observation_size: int) -> MLPValue:
    inner = fields.inner("value")
    inner.text("kind", ("value",))
    network = _network(inner)
    if network.sizes[0] != observation_size or network.sizes[-1] != 1:
        raise inner.wrong("sizes")
    return MLPValue(network)


def _scaling(fields: _Fields, name: str) -> Scaling | None:
    if not fields.given(name):
        return None
    inner = fields.inner(name)
    clip = inner.number("clip", 0.0, math.inf) if inner.given("clip") else None
    return Scaling(inner.number("epsilon", 0.0, 1e6), inner.text("epsilon_on", ("std", "variance")), clip)


def _regime(fields: _Fields) -> Regime:
    n_envs, n_steps = fields.whole("n_envs", 1, _MOST_ENVS), fields.whole("n_steps", 1, _MOST_STEPS)
    return Regime(n_envs, n_steps, fields.flag("reset_each_iteration"))


def _settings(fields: _Fields) -> dict[str, Any]:
    """Return an algorithm's settings: finite numbers, flags, none; which of them it has, its update knows."""
    for name, value in fields.content.items():
        if name in _MOST_OF:
            fields.whole(name, 0, _MOST_OF[name])
        elif name == "optimizer":
            fields.text(name, _OPTIMIZERS)
        elif value is not None and not isinstance(value, bool):
            fields.number(name, 0.0 if name.endswith("clip") else -_LARGEST_SETTING, _LARGEST_SETTING)
    return fields.content


def _environment(fields: _Fields) -> EnvironmentSpec:
    """Return the environment that is named; whether it may be built, its first use tells."""
    name, arguments = fields.name("id", _ID), fields.inner("arguments")
    if name in SHORT_NAMES.values():
        for argument in FROM_FILES & arguments.content.keys():
            if not is_argument_from_file(argument, arguments.content[argument]):
                raise arguments.wrong(argument)
    return EnvironmentSpec(name, arguments.content, trusted=False)


def _read_state(path: Path, digest: str, agent: Agent) -> dict[str, Tensor]:
    packed, longest = path.with_name(PACKED), _longest_state(agent)
    is_packed = packed.exists() and not path.exists()
    content = _read_packed(packed, longest) if is_packed else _read(path, longest=longest)
    if _digest(content) != digest:
        raise InputError(f"{path} is damaged, or is not the one its {DESCRIPTION} was written with", _HINT)
    try:
        state = load_tensors(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, torch.OutOfMemoryError):
        raise InputError(f"{path} is not a readable safetensors file", _HINT) from None
    check_state(agent, state, str(path))
    return state
