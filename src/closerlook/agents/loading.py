"""An agent by the name it is given: a run folder (or the atlas), an agent's folder, a library's file, a function."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, overload

from closerlook.agents.agent import Agent
from closerlook.agents.environment import EnvironmentSpec, import_module
from closerlook.agents.files import DESCRIPTION, load_agent
from closerlook.agents.importers import import_agent
from closerlook.agents.importers.request import ImportRequest
from closerlook.arguments import environment_id
from closerlook.errors import InputError, in_one_line, users_code
from closerlook.results.training_log import NAMES as LOGS

Source: TypeAlias = str | Path | Agent
Environment: TypeAlias = str | EnvironmentSpec | None

CHECKPOINTS = "checkpoints"
ATLAS = "atlas"
ATLAS_VARIABLE = "CLOSERLOOK_ATLAS"
"""Environment variable that names the atlas' folder, where closerlook is installed without its repository."""

_FOREIGN = {
    ".pt": "a torch file",
    ".pth": "a torch file",
    ".cleanrl_model": "a CleanRL file",
}


@dataclass(frozen=True)
class Importing:
    """How another library's file is to be read; see `closerlook.agents.importers.request.ImportRequest`.

    Parameters
    ----------
    environment : str, EnvironmentSpec or None
        What the agent is to be measured on; None: what it was trained on.
    normalize : str, Path or None
        A file of statistics, where they are elsewhere.
    settings : mapping of str to value
        What the caller knows better, or what the file does not say.
    anyway : bool
        Whether to go on where something is missing.
    """

    environment: Environment = None
    normalize: str | Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    anyway: bool = False


def checkpoint_folder(run: Path, iteration: int, agent_seed: int) -> Path:
    """Return where a run keeps one agent: ``checkpoints/000150/03``.

    Parameters
    ----------
    run : Path
        The run folder.
    iteration : int
        Updates made.
    agent_seed : int
        The agent's number within the run.
    """
    return run / CHECKPOINTS / f"{iteration:06d}" / f"{agent_seed:02d}"


def checkpoints_of(run: Path) -> dict[tuple[int, int], Path]:
    """Return the folders of a run's agents by iteration and seed."""
    return {
        (int(agent.parent.name), int(agent.name)): agent
        for agent in (run / CHECKPOINTS).glob("*/*")
        if agent.name.isdecimal() and agent.parent.name.isdecimal() and (agent / DESCRIPTION).is_file()
    }


@overload
def load(source: Source, *, env: Environment = ..., iteration: int | None = ..., seed: int) -> Agent: ...


@overload
def load(
    source: Source,
    *,
    env: Environment = ...,
    iteration: int | None = ...,
    seed: None = ...,
    normalize: str | Path | None = ...,
    settings: Mapping[str, Any] | None = ...,
    anyway: bool = ...,
) -> Agent | list[Agent]: ...


def load(
    source: Source,
    *,
    env: Environment = None,
    iteration: int | None = None,
    seed: int | None = None,
    normalize: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    anyway: bool = False,
) -> Agent | list[Agent]:
    """Load an agent by name, or all agents of a run.

    Parameters
    ----------
    source, iteration, seed
        As for `find_agents`.
    env : str or EnvironmentSpec, optional
        What the agent is to be measured on; default what it was trained on.
    normalize : str or Path, optional
        Of another library's agent: the file of its statistics, where it is not beside it.
    settings : mapping of str to value, optional
        Of another library's agent: what the file does not say, or says wrongly.
    anyway : bool
        Whether to go on with what could not be known.

    Returns
    -------
    Agent or list of Agent
        One agent; a list, in the order of their seeds, where a run has several and no seed is given.

    Raises
    ------
    InputError
        Where there is no such agent, naming what there is.

    See Also
    --------
    closerlook.from_sb3 : an agent of a live model.
    closerlook.load_agent : an agent from its own folder.

    Examples
    --------
    >>> import closerlook as cl
    >>> agent = cl.load("atlas/hopper-ppo", iteration=150, seed=3)
    >>> agent.environment.id, agent.algorithm, agent.iteration
    ('Hopper-v5', 'ppo', 150)
    """
    importing = Importing(env, normalize, settings or {}, anyway)
    # a run has several agents, a file one
    agents = find_agents(source, iteration=iteration, seed=seed, importing=importing)
    if env is not None:
        spec = EnvironmentSpec(environment_id(env)) if isinstance(env, str) else env
        # an imported agent has it already, with the wrappers that it acts in
        agents = [agent if agent.origin is not None else replace(agent, environment=spec) for agent in agents]
    return agents[0] if len(agents) == 1 else agents


def find_agents(
    source: Source, *, iteration: int | None = None, seed: int | None = None, importing: Importing | None = None
) -> list[Agent]:
    """Find agents by name.

    Parameters
    ----------
    source : str, Path or Agent
        A run folder of ours, the folder of one agent, another library's file or folder, or
        ``package.module:function``, a function without arguments that returns an agent. ``atlas/walker2d-ppo`` is a run
        of the atlas wherever the command is given (see `atlas_folder`), unless there is such a folder here. An agent is
        passed through.
    iteration : int, optional
        Which checkpoint of a run folder; default the last of each agent. Of anything else: what it has to be.
    seed : int, optional
        Which agent of a run folder, counted from 0; default all. Of anything else: what it has to be.
    importing : Importing, optional
        How another library's file is to be read.

    Returns
    -------
    list of Agent
        Single agents, in the order of their seeds.

    Raises
    ------
    InputError
        Where there is no such agent, naming what there is.
    """
    if isinstance(source, Agent):
        return source.unstack()
    path = _found(source)
    if (path / CHECKPOINTS).is_dir():
        return _from_run(path, iteration, seed)
    if (path / DESCRIPTION).is_file():
        return _asked([load_agent(path)], str(path), iteration, seed)
    if not path.exists() and ":" in str(source):
        return _asked(_from_function(str(source)).unstack(), str(source), iteration, seed)
    if path.exists():
        imported = _imported(path, importing or Importing())
        if imported is not None:
            return _asked([imported], str(path), iteration, seed)
    raise _nothing_there(path)


def run_folder(source: str | Path) -> Path | None:
    """Return the folder of a run of ours, or of the atlas, by the name its agents are given by; None if it is none.

    Parameters
    ----------
    source : str or Path
        See `find_agents`.
    """
    path = _found(source)
    return path if (path / CHECKPOINTS).is_dir() else None


def _found(source: object) -> Path:
    path = _path_of(source)
    if not path.exists() and path.parts[:1] == (ATLAS,):
        return atlas_folder().joinpath(*path.parts[1:])
    return path


def _imported(path: Path, importing: Importing) -> Agent | None:
    """Read another library's agent.

    Raises
    ------
    InputError
        Where something is missing that has to be asked for.
    """
    given = importing.environment
    environment = EnvironmentSpec(environment_id(given)) if isinstance(given, str) else given
    normalize = Path(importing.normalize) if importing.normalize is not None else None
    agent = import_agent(ImportRequest(path, environment, normalize, importing.settings))
    missing = agent.origin.missing if agent is not None and agent.origin is not None else {}
    if missing and not importing.anyway:
        name, how = next(iter(missing.items()))
        raise InputError(f"{path} does not say everything ({name}): {how}", "or go on with --anyway (anyway=True)")
    return agent


def _path_of(source: object) -> Path:
    """Return what may be a path, or a name that is none."""
    hint = "give a run folder, an agent's folder, or module:function"
    try:
        path = Path(source)  # type: ignore[arg-type]
        path.exists()
    except OSError as error:  # it is too long, or may not be looked at
        raise InputError(f"{source!r:.60} cannot be read ({error.strerror})", hint) from None
    except (TypeError, ValueError):  # no text, or one with a null byte
        raise InputError(f"{source!r:.60} names no agent", hint) from None
    return path


def _asked(agents: list[Agent], name: str, iteration: int | None, seed: int | None) -> list[Agent]:
    """Return agents that are not chosen from a run, where they are those that were asked for.

    Raises
    ------
    InputError
        Where another iteration or seed was.
    """
    for what, asked, there in (
        ("iteration", iteration, {agent.iteration for agent in agents}),
        ("agent seed", seed, {agent.agent_seed for agent in agents}),
    ):
        if asked is not None and there != {asked}:
            found = ", ".join(str(one) for one in there - {None}) or "not known"
            hint = f"leave the {what} out, or give a run folder to choose from"
            raise InputError(f"{name} is not a run, and its {what} is {found}, not {asked}", hint)
    return agents


def atlas_folder() -> Path:
    """Return where the atlas is: beside the sources in the repository, or where ``CLOSERLOOK_ATLAS`` says."""
    given = os.environ.get(ATLAS_VARIABLE)
    return Path(given) if given else Path(__file__).parents[3] / ATLAS


def _nothing_there(path: Path) -> InputError:
    kind = _FOREIGN.get(path.suffix.lower())
    if path.is_file() and kind is not None:
        return InputError(
            f"{path} is {kind}, which closerlook cannot open by itself yet",
            "write a function that returns cl.Agent.from_torch(...), and give it as package.module:function",
        )
    place = path.resolve() if path.exists() else path  # what is there may be "."
    if place.parent in (atlas_folder(), atlas_folder().resolve()):
        there = ", ".join(sorted(run.parent.name for run in place.parent.glob(f"*/{CHECKPOINTS}"))) or "empty"
        if not place.exists():
            return InputError(f"there is no {place.name} in the atlas ({place.parent})", f"it is or has: {there}")
        if (place / LOGS[1]).is_file():
            what = f"the atlas ({place.parent}) keeps the log of {place.name}, and not its agents"
            how = f"closerlook atlas {place.name} --out runs/packed trains them; or take one of {there}"
            return InputError(what, how)
    if path.exists():
        return InputError(f"{path} holds no agent", "give a run folder, the folder of a checkpoint, or module:function")
    return InputError(f"there is no agent at {path}", "check the path; module:function names a function of yours")


def _from_run(run: Path, iteration: int | None, seed: int | None) -> list[Agent]:
    found = checkpoints_of(run)
    if not found:
        raise InputError(f"{run} holds no checkpoint yet", "wait for the first, or give the train command again")
    iterations, seeds = {it for it, _ in found}, {s for _, s in found}
    if iteration is not None and iteration not in iterations:
        raise InputError(f"{run} has no checkpoint at iteration {iteration}", f"it has {_listed(iterations)}")
    if seed is not None and seed not in seeds:
        raise InputError(f"{run} has no agent seed {seed}", f"it has {_listed(seeds)}")
    chosen = {}
    for it, s in sorted(found):
        if (iteration is None or it == iteration) and (seed is None or s == seed):
            chosen[s] = found[it, s]
    if not chosen:
        raise InputError(f"{run} has no agent seed {seed} at iteration {iteration}", "choose another pair of them")
    return [load_agent(chosen[s]) for s in sorted(chosen)]


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))


def _from_function(name: str) -> Agent:
    """Import what the user named and call it: the one place where an agent's name runs code."""
    module_name, _, function_name = name.partition(":")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:  # a module is anybody's code
        raise InputError(
            f"{module_name} cannot be imported ({in_one_line(error)})", "check its name and the folder you are in"
        ) from error
    function = getattr(module, function_name, None)
    if function is None:
        raise InputError(f"{module_name} has no {function_name}", "check the name after the colon")
    with users_code(f"the function {name}", "give one without arguments that returns a closerlook.Agent"):
        agent = function() if callable(function) else function
    if not isinstance(agent, Agent):
        raise InputError(f"{name} gives a {type(agent).__name__}, not a closerlook.Agent", "return an Agent from it")
    return replace(agent, factory=name)
