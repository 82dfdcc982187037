"""Streams of the chain, all at once in NumPy, laid out as the answers of jobs: cheap enough for hundreds of repeats.

====== ==========================================================
symbol meaning
====== ==========================================================
S, T   streams, pairs of each
Q      rows of weights, the last of them ones
====== ==========================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

import chain
from chain import ACTIONS, EARNED, GAMMA, LAST, LIMIT, MOVES, START, STATES, STEPS
from closerlook.measurements.true_returns import TIME_UNIT, continuation_steps


def draw(rng: np.random.Generator, chances: np.ndarray) -> np.ndarray:
    """Draw one of the columns of chances (N, K) in each row."""
    return np.asarray(
        (rng.random((len(chances), 1)) > np.cumsum(chances, axis=1)).sum(axis=1).clip(max=chances.shape[1] - 1)
    )


@dataclass(frozen=True)
class Streams:
    """What happened in each stream; all (S, T).

    Parameters
    ----------
    states, actions, rewards, ages : ndarray
        Of each pair; the age is the steps of its episode before it.
    terminated, truncated : ndarray, bool
        Whether the episode ended with it.
    tail : ndarray
        Discounted return after a pair whose episode was truncated, or whose stream was cut; else 0.
    rest : ndarray
        What else the episode of a stream's last pair returned, in the last column; else 0.
    """

    states: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    ages: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    arrived: np.ndarray
    tail: np.ndarray
    rest: np.ndarray

    def __getitem__(self, rows: slice) -> "Streams":
        """Take some of the streams."""
        return Streams(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __len__(self) -> int:
        """Count the streams."""
        return len(self.states)

    def cut(self, stop: int) -> "Streams":
        """Take the first steps alone."""
        return Streams(*(getattr(self, field.name)[:, :stop] for field in fields(self)))

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the return of each episode to its end, and the stream it began in."""
        last = self.ends.copy()
        last[:, -1] = True
        number = np.cumsum(last, axis=1) - last
        streams, order = np.arange(len(self))[:, None], number + STEPS * np.arange(len(self))[:, None]
        returns = np.bincount(order.ravel(), (self.rewards + self.rest).ravel(), STEPS * len(self))
        begun = np.bincount(order.ravel(), minlength=STEPS * len(self)) > 0
        return returns[begun], np.broadcast_to(streams, (len(self), STEPS)).ravel()[begun]

    @property
    def ends(self) -> np.ndarray:
        """Pairs that the next one of the stream does not follow from."""
        return self.terminated | self.truncated

    def advantages(self, critic: np.ndarray, gae_lambda: float) -> np.ndarray:
        """Generalized advantage estimates by a table of values (n,)."""
        following = np.where(self.terminated, 0.0, critic[self.arrived])
        return self._summed(self.rewards + GAMMA * following - critic[self.states], GAMMA * gae_lambda)

    def monte_carlo_returns(self) -> np.ndarray:
        """Discounted returns, followed past limits and cuts."""
        return self._summed(self.rewards + GAMMA * self.tail, GAMMA)

    def cut_off_returns(self) -> np.ndarray:
        """Discounted returns that stop there."""
        return self._summed(self.rewards, GAMMA)

    def episode_returns(self) -> np.ndarray:
        """Undiscounted returns to the end of the episode."""
        return self._summed(self.rewards + self.rest, 1.0)

    def _summed(self, terms: np.ndarray, decay: float) -> np.ndarray:
        found = terms.copy()
        for step in range(terms.shape[1] - 2, -1, -1):
            found[:, step] += decay * found[:, step + 1] * ~self.ends[:, step]
        return found

    @cached_property
    def _places(self) -> np.ndarray:
        pairs = self.states * ACTIONS + self.actions
        return np.asarray(np.arange(len(self))[:, None] * STATES * ACTIONS + pairs)

    def score_sums(self, weights: np.ndarray) -> np.ndarray:
        """Sum ``w grad log pi`` over each stream: (S, D)."""
        size = STATES * ACTIONS
        tables = np.bincount(self._places.ravel(), weights.ravel(), minlength=len(self) * size).reshape(-1, size)
        return np.asarray(tables @ chain.scores().reshape(size, -1))


def sample(count: int, noise: float, seed: int, chances: np.ndarray | None = None) -> Streams:
    """Sample streams that each begin with a reset, by the chain's policy or another (n, A)."""
    rng, chances = np.random.default_rng(seed), chain.policy() if chances is None else chances
    state, age = draw(rng, np.tile(START, (count, 1))), np.zeros(count, int)
    rows = {name: np.zeros((count, STEPS), int) for name in ("states", "actions", "ages", "arrived")}
    rewards = np.zeros((count, STEPS))
    for step in range(STEPS):
        action, arrived, reward = _move(rng, state, chances, noise)
        rows["states"][:, step], rows["actions"][:, step], rows["ages"][:, step] = state, action, age
        rows["arrived"][:, step], rewards[:, step] = arrived, reward
        over = (arrived == LAST) | (age + 1 == LIMIT)
        state = np.where(over, draw(rng, np.tile(START, (count, 1))), arrived)
        age = np.where(over, 0, age + 1)
    terminated = rows["arrived"] == LAST
    truncated = ~terminated & (rows["ages"] + 1 == LIMIT)
    ended = truncated.copy()
    ended[:, -1] |= ~terminated[:, -1]
    at = np.nonzero(ended)
    tail, rest = np.zeros((count, STEPS)), np.zeros((count, STEPS))
    cut = np.flatnonzero(~terminated[:, -1] & ~truncated[:, -1])
    rest[cut, -1] = _finish(rng, rows["arrived"][cut, -1], rows["ages"][cut, -1] + 1, noise, chances)
    tail[at] = follow(rng, rows["arrived"][at], noise)
    return Streams(
        rows["states"], rows["actions"], rewards, rows["ages"], terminated, truncated, rows["arrived"], tail, rest
    )


def _move(
    rng: np.random.Generator, state: np.ndarray, chances: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    action = draw(rng, chances[state])
    arrived = draw(rng, MOVES[action, state])
    return action, arrived, EARNED[action, arrived] + noise * rng.standard_normal(len(state))


def follow(rng: np.random.Generator, state: np.ndarray, noise: float, steps: int | None = None) -> np.ndarray:
    """Return discounted returns from states on, past any limit."""
    found, alive = np.zeros(len(state)), state != LAST
    for step in range(continuation_steps(GAMMA) if steps is None else steps):
        _, state, reward = _move(rng, state, chain.policy(), noise)
        found += alive * GAMMA**step * reward
        alive &= state != LAST
    return found


def _finish(
    rng: np.random.Generator, state: np.ndarray, age: np.ndarray, noise: float, chances: np.ndarray
) -> np.ndarray:
    found, alive = np.zeros(len(state)), np.ones(len(state), bool)
    for _ in range(LIMIT):
        _, state, reward = _move(rng, state, chances, noise)
        found += alive * reward
        age = age + 1
        alive &= (state != LAST) & (age < LIMIT)
    return found


def block_sums(streams: Streams, weights: Sequence[np.ndarray], name: str, stop: int = STEPS) -> dict[str, np.ndarray]:
    """Lay out sums by weights (S, T) of the first pairs of each stream as a job answers them: each stream a block."""
    count, within = len(streams), np.arange(STEPS) < stop
    ones = np.ones((count, STEPS))
    scores = np.stack([streams.score_sums(rows * within) for rows in (*weights, ones)], axis=1)
    moments = [np.full(count, float(stop))]
    for rows in weights:
        moments += [(rows * within).sum(axis=1), (rows**2 * within).sum(axis=1)]
    return {
        f"{name}.first": np.arange(count),
        f"{name}.streams": np.ones(count, int),
        f"{name}.scores": scores,
        f"{name}.moments": np.stack(moments, axis=1),
    }


def gradient_answer(
    streams: Streams, kinds: Sequence[tuple[np.ndarray, float]], prefixes: Sequence[int]
) -> dict[str, np.ndarray]:
    """Lay out what `closerlook.measurements.stream_sums.sample_sums` answers.

    Parameters
    ----------
    streams : Streams
        Which ones.
    kinds : sequence of (ndarray, (n,), float)
        Critics and lambdas that advantages are made by; both true returns come on top.
    prefixes : sequence of int
        First pairs of each stream that are summed as well.
    """
    own = [streams.advantages(critic.astype(float), gae_lambda) for critic, gae_lambda in kinds]
    true_gradients = [streams.monte_carlo_returns(), streams.episode_returns()]
    others = [streams.ages / TIME_UNIT, chain.WRONG[streams.states].astype(float)]
    table = np.stack([np.ones_like(true_gradients[0]), *others, *true_gradients], axis=1)
    nothing = np.zeros((len(streams), 2), int)
    lengths = [np.bincount(np.cumsum(ends) - ends) for ends in streams.ends]
    return {
        **block_sums(streams, [*own, *true_gradients, *others], "streams"),
        **{name: array for stop in prefixes for name, array in _prefixes(streams, kinds, stop).items()},
        "crossed": np.einsum("sit,sjt->sij", table, table),
        "incomplete": nothing,
        "trajectories": np.array([len(one) for one in lengths], float),
        "episodes": np.array([len(one) for one in lengths], float),
        "returns": streams.rewards.sum(axis=1) + streams.rest[:, -1],
        "squared_lengths": np.array([np.square(one).sum() for one in lengths], float),
        "squares": np.stack([_squares(streams[at : at + 1], own[0][at]) for at in range(len(streams))]),
    }


def _prefixes(streams: Streams, kinds: Sequence[tuple[np.ndarray, float]], stop: int) -> dict[str, np.ndarray]:
    """Lay out the sums over the first pairs, with advantages as they are if the streams are cut there."""
    cut = streams.cut(stop)
    rows = [np.pad(cut.advantages(critic.astype(float), one), ((0, 0), (0, STEPS - stop))) for critic, one in kinds]
    return block_sums(streams, rows, f"first_{stop}", stop)


def _squares(stream: Streams, weights: np.ndarray) -> np.ndarray:
    """Return the six sums of squared scores of one stream, its network being one layer: (1, 6)."""
    rows = chain.scores()[stream.states[0], stream.actions[0]]
    norms = np.square(rows).sum(axis=1)
    pairs = [weights**2 @ norms, weights @ norms, norms.sum()]
    starts = np.concatenate([[0], np.flatnonzero(stream.ends[0][:-1]) + 1])
    lengths = np.diff([*starts, len(rows)])
    sums, ones = (np.add.reduceat(some, starts) for some in (rows * weights[:, None], rows))
    both = [((a * b).sum(axis=1) / lengths).sum() for a, b in ((sums, sums), (sums, ones), (ones, ones))]
    return np.array([[*pairs, *both]])
