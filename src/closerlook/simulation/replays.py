"""Whether an episode comes again: what an environment answers may depend on its seed and its actions alone."""

import warnings

import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from numpy.typing import NDArray

from closerlook.errors import InputError
from closerlook.randomness import derive_seed, generator
from closerlook.simulation.lanes import Engine

LONGEST = 50
"""Steps of an episode that is tried, at most."""
_PURPOSE = "trial"


def require_repeatable(engine: Engine, name: str) -> None:
    """Play an episode on a fresh lane, on another one, and on the first one again, now used.

    Where fresh lanes already differ, a warning says that the seed does not decide what happens.

    Parameters
    ----------
    engine : Engine
        Two lanes that nothing has run on.
    name : str
        Of the environment.

    Raises
    ------
    InputError
        Where the used lane differs from fresh ones: the environment remembers across resets.
    """
    # equal seeds on two fresh copies; then once more on the copy that has played another episode in between
    first, fresh = (_episode(engine, lane, 0) for lane in (0, 1))
    _episode(engine, 0, 1)
    if first != fresh:
        warnings.warn(
            f"environment {name!r} does not answer alike when an episode is played twice, so that results depend on "
            "more than the seed: let its randomness come from reset(seed=...)",
            stacklevel=3,
        )
    elif _episode(engine, 0, 0) != first:
        raise InputError(
            f"environment {name!r} remembers across resets: an episode played again on a used copy went otherwise",
            "let its reset() begin anew; statistics of a wrapper belong to the agent (observation_mean, "
            "observation_var)",
        )


def _episode(engine: Engine, lane: int, number: int) -> list[bytes]:
    seed = derive_seed(0, _PURPOSE, episode=number, kind="reset")
    began = engine.reset(np.array([lane]), [seed]).tobytes()
    return [began, *play(engine, lane, seed=number, steps=LONGEST)]


def play(engine: Engine, lane: int, *, seed: int, steps: int) -> list[bytes]:
    """Step a lane by random actions of its space, to the end of the episode or as far as it takes them.

    Parameters
    ----------
    engine : Engine
        Whose lane it is.
    lane : int
        At the start of an episode.
    seed : int
        Of the actions.
    steps : int
        At most.

    Returns
    -------
    list of bytes
        What each step answered.
    """
    draws = generator(seed, _PURPOSE, kind="action")
    answers: list[bytes] = []
    for _ in range(steps):
        try:
            result = engine.step(np.array([lane]), _action(engine, draws))
        except InputError:  # sampling says what is wrong; an action drawn at random may not be allowed there
            break
        flags = result.terminated, result.truncated
        answers.append(b"".join(part.tobytes() for part in (result.observations, result.rewards, *flags)))
        if flags[0][0] or flags[1][0]:
            break
    return answers


def _action(engine: Engine, draws: np.random.Generator) -> NDArray[np.generic]:
    """Draw an action (1, A) within the bounds of a Box, near them where they are infinite; or one choice or several."""
    space = engine.action_space
    if isinstance(space, Discrete):
        return draws.integers(int(space.n), size=1)
    if isinstance(space, MultiDiscrete):
        return draws.integers(np.ravel(space.nvec))[None]
    if isinstance(space, MultiBinary):
        return draws.integers(2, size=(1, int(np.prod(space.shape))))
    assert isinstance(space, Box)
    low, high = (np.ravel(bound).astype(np.float64) for bound in (space.low, space.high))
    normal, share = draws.standard_normal(low.size), draws.random(low.size)
    bounded = np.isfinite(low) & np.isfinite(high)
    inside = np.where(bounded, low, 0.0) * (1 - share) + np.where(bounded, high, 0.0) * share
    anywhere = np.maximum(low, np.minimum(high, normal))
    return np.where(bounded, inside, anywhere)[None].astype(space.dtype)
