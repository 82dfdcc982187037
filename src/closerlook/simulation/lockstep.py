"""The lockstep: every lane runs one stream after another, and all lanes take each step together.

A lane *streams* (burn-in while its time is negative, then scored steps) and, where a time limit or the end of the
stream cuts an episode off, goes *beyond* it: unscored, for as long as the continuation or the unfinished episode
asks, before it is reset or takes its policy's next stream.

====== ===================================
symbol meaning
====== ===================================
P      policies
L      lanes of each policy
n      all lanes, P L, policy by policy
a      the lanes that are not idle
====== ===================================
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from closerlook.agents.agent import Agent
from closerlook.errors import NonFiniteError, PolicyError, users_code
from closerlook.randomness import derive_seed, generator
from closerlook.simulation.acting import ActionNoise, ObservationFilter, make_transform
from closerlook.simulation.lanes import BoolArray, Engine, IntArray, StepResult
from closerlook.simulation.metering import Asked, count, gives_up_finishing, shortened, simulating
from closerlook.simulation.placement import StreamQueue
from closerlook.simulation.recording import Recorder
from closerlook.simulation.records import Episodes, Rollout, Sampling

_IDLE, _STREAMING, _BEYOND = 0, 1, 2
_NEVER = np.iinfo(np.int64).max
_DENSITIES = (
    "a distribution has to give what it draws a finite density; in place of a squashed one give the plain one with "
    "action_transform='squash'"
)

Index = slice | NDArray[Any]
"""An index of lanes; a slice where it is all of them, which costs no copy."""


@dataclass(frozen=True)
class Plan:
    """What a lockstep is to do.

    Parameters
    ----------
    environment : str
        Its name, for messages.
    sampling : Sampling
        What to sample of each stream.
    seeds : sequence of int, length P
        Root seed of each policy.
    purpose : str
        What the draws are for.
    streams : sequence of int, length S
        Keys of the streams.
    lanes : int
        Streams of each policy that run together, L.
    update_observations : bool
        Whether observation moments are updated at every step.
    keep_transitions : bool
        Whether scored steps are kept, or episodes alone.
    """

    environment: str
    sampling: Sampling
    seeds: Sequence[int]
    purpose: str
    streams: Sequence[int]
    lanes: int
    update_observations: bool = False
    keep_transitions: bool = True


class Lockstep:
    """One rollout in progress.

    Parameters
    ----------
    agents : Agent
        A population of P.
    engine : Engine
        P L lanes.
    plan : Plan
        What to do.
    """

    def __init__(self, agents: Agent, engine: Engine, plan: Plan) -> None:
        policies, sampling = len(plan.seeds), shortened(plan.sampling)
        self._engine, self._plan, self._sampling = engine, plan, sampling
        self._grid = (policies, plan.lanes)
        # without a time limit an episode may never end: its finish is given up after so many steps
        self._limit = _NEVER if engine.time_limit is None else engine.time_limit
        self._longest_finish = sampling.longest_finish if gives_up_finishing(engine.time_limit) else _NEVER
        self._filter = ObservationFilter.of(agents, running=plan.update_observations)
        self._policy, self._parameters = agents.policy, agents.policy_parameters
        self._actor = agents.policy.actor(self._parameters)
        self._transform = make_transform(agents.action_transform, engine.action_space)
        n, width, noise = policies * plan.lanes, engine.observation_size, agents.policy.noise
        self._noise = ActionNoise(noise, n)
        # draws of torch's own distributions may round to where their density is 0 or infinite
        self._watches_density = noise.kind == "seed" and plan.keep_transitions
        self._queues = [StreamQueue(plan.streams, plan.lanes) for _ in plan.seeds]
        rows = self._queues[0].rows
        self._inputs = np.zeros((policies, rows, width), np.float32)
        self._noise_rows = np.zeros((policies, rows, noise.size), np.int64 if noise.kind == "seed" else np.float64)
        shape, beyond = (policies, len(plan.streams), sampling.n_steps), sampling.continuation_steps
        self._recorder = Recorder(shape, width, beyond, keep_transitions=plan.keep_transitions)
        self._set_up_lanes(n, width)

    def run(self) -> Rollout:
        """Run every stream of every policy to its end."""
        self._run()
        return self._recorder.rollout(self._filter.updated_moments)

    def run_episodes(self) -> Episodes:
        """Run every stream of every policy to its end, and return the episodes alone."""
        self._run()
        return self._recorder.episodes()

    def _run(self) -> None:
        plan, policies = self._plan, self._grid[0]
        size = (policies, len(plan.streams), plan.lanes)
        self._begin_streams()
        # rows of the policy's tiles that no stream has yet hold what the first began with, for it has an answer to that
        self._inputs[:] = self._filter.all_rows(self._observation.reshape(*self._grid, -1))[:, :1]
        with simulating(Asked(plan.sampling, plan.purpose, *size, self._engine.time_limit)):
            while (active := np.flatnonzero(self._phase)).size:
                self._advance(active)

    def _set_up_lanes(self, n: int, width: int) -> None:
        self._phase = np.zeros(n, np.int8)
        self._stream, self._row, self._cell = (np.zeros(n, np.int64) for _ in range(3))
        self._time = np.zeros(n, np.int64)  # steps since the stream's first scored one
        self._episode, self._elapsed, self._start = (np.zeros(n, np.int64) for _ in range(3))
        self._return, self._return_at_cut = np.zeros(n), np.zeros(n)
        self._observation = np.zeros((n, width))
        self._continuing, self._finishing = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self._beyond, self._unfinished = np.zeros(n, np.int64), np.zeros(n, np.int64)  # unscored steps of each
        self._beyond_rewards = np.zeros((n, self._sampling.continuation_steps))
        self._cut_inputs = np.zeros((n, width), np.float32)
        self._aligned = False  # whether lane and row of the policy's tiles are the same for all lanes

    def _advance(self, active: IntArray) -> None:
        """Take one step on every lane that is not idle."""
        where = _where(active, len(self._phase))
        # in this order: act, step, count, find what stopped; only lanes that stream at a time of 0 or later are scored
        inputs, actions = self._choose_actions(active, where)
        streaming, time = self._phase[where] == _STREAMING, self._time[where]
        scored = _where_true(streaming & (time >= 0))
        cells = (self._cell[where] + time)[scored]
        if self._watches_density:
            self._check_densities(active[scored], inputs[scored], actions[scored])
        self._recorder.acted(cells, inputs[scored], actions[scored])
        result = self._engine.step(active, self._transform(actions))
        count(result)
        self._take_in(active, where, streaming, result)
        # Gymnasium's wrapper TimeLimit, done here: the environment itself goes on past it
        at_limit = self._elapsed[where] == self._limit
        # an episode that terminates at its limit has terminated: nothing follows
        truncated = (result.truncated | at_limit) & ~result.terminated
        self._recorder.stepped(cells, result.rewards[scored], result.terminated[scored], truncated[scored])
        stops = result.terminated | truncated | self._stops_by_count(where, streaming)
        if stops.any():
            self._handle_stops(active, stops, result, truncated)

    def _choose_actions(self, active: IntArray, where: Index) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Return policy inputs (a, obs) and the actions (a, A) or (a,) drawn at them."""
        every = self._filter.all_rows(self._observation.reshape(*self._grid, -1))
        inputs = every.reshape(len(self._phase), -1)[where]
        self._check(active, inputs, "observation", " (as policies see it, in single precision)")
        noise = self._noise.draw(active, where)
        # all lanes at their own rows of the tiles: nothing has to be gathered or scattered
        if self._aligned and isinstance(where, slice):
            answers = self._actor(every, noise.reshape(*self._grid, -1))
            actions = answers.reshape(-1, *answers.shape[2:])
        else:
            actions = self._act_on_rows(self._row[where], inputs, noise)
        if not np.issubdtype(actions.dtype, np.floating):
            return inputs, actions.astype(np.int64, copy=False)
        self._check(active, actions, "action")
        return inputs, actions.astype(np.float32, copy=False)

    def _act_on_rows(self, rows: IntArray, inputs: NDArray[np.float32], noise: NDArray[Any]) -> NDArray[Any]:
        """Act with each lane's input and noise at its own row of the policy's tiles."""
        self._inputs.reshape(-1, inputs.shape[1])[rows] = inputs
        self._noise_rows.reshape(-1, noise.shape[1])[rows] = noise
        answers = self._actor(self._inputs, self._noise_rows)
        return np.asarray(answers.reshape(-1, *answers.shape[2:])[rows])

    def _check_densities(self, lanes: IntArray, inputs: NDArray[np.float32], actions: NDArray[Any]) -> None:
        """Stop at an action whose log density is not finite: its score would not be, and no gradient with it."""
        for policy in np.unique(lanes // self._plan.lanes).tolist():
            own = np.flatnonzero(lanes // self._plan.lanes == policy)
            parameters = {name: tensor[policy] for name, tensor in self._parameters.items()}
            rows = torch.from_numpy(inputs[own])
            with torch.no_grad(), users_code("the agent's distribution", _DENSITIES, PolicyError):
                densities = self._policy.distribution(parameters, rows).log_prob(torch.from_numpy(actions[own]))
            self._check(lanes[own], densities.numpy(), "log probability of an action", f" ({_DENSITIES})")

    def _take_in(self, active: IntArray, where: Index, streaming: BoolArray, result: StepResult) -> None:
        """Note where every lane has got to."""
        self._check(active, result.rewards, "reward")
        self._check(active, result.observations, "observation")
        self._observation[where] = result.observations
        self._elapsed[where] += 1
        self._return[where] += result.rewards
        # the usual case first: nobody is beyond the end of a stream
        if streaming.all():
            self._time[where] += 1
        else:
            self._time[where] += streaming
            lanes = active[self._continuing[active]]
            self._beyond_rewards[lanes, self._beyond[lanes]] = result.rewards[self._continuing[active]]
            self._beyond[lanes] += 1
            self._unfinished[active[self._finishing[active]]] += 1
        if self._plan.update_observations:
            self._push_moments(active[streaming])

    def _stops_by_count(self, where: Index, streaming: BoolArray) -> BoolArray:
        """Return which lanes have come to the end of their stream, their continuation or their patience, (a,)."""
        stops = streaming & (self._time[where] == self._sampling.n_steps)
        if not streaming.all():
            stops |= self._continuing[where] & (self._beyond[where] == self._sampling.continuation_steps)
            stops |= self._finishing[where] & (self._unfinished[where] == self._longest_finish)
        return np.asarray(stops)

    def _handle_stops(self, active: IntArray, stops: BoolArray, result: StepResult, truncated: BoolArray) -> None:
        """Decide what each stopped lane does next, then reset those that begin an episode."""
        resets = []
        for at in np.flatnonzero(stops).tolist():
            lane, terminated = int(active[at]), bool(result.terminated[at])
            own, over = bool(result.truncated[at]), bool(terminated or truncated[at])
            stop = self._stop_streaming if self._phase[lane] == _STREAMING else self._stop_beyond
            if stop(lane, terminated=terminated, over=over, can_go_on=not (terminated or own)):
                continue
            # the stream is full: its row is free for another one; else its next episode begins
            if self._time[lane] == self._sampling.n_steps:
                self._phase[lane] = _IDLE
                self._queues[lane // self._plan.lanes].release(self._row[lane] % self._inputs.shape[1])
            else:
                resets.append(lane)
        self._reset(resets)
        if (self._phase == _IDLE).any():
            self._begin_streams()

    def _stop_streaming(self, lane: int, *, terminated: bool, over: bool, can_go_on: bool) -> bool:
        """Close what ended with a step of the stream; return whether the lane goes beyond it."""
        if self._time[lane] <= 0:
            self._recorder.earlier_episode(*self._episode_row(lane, finished=True), 0.0)
            return False
        self._finishing[lane] = not over and self._sampling.finish_episodes
        self._return_at_cut[lane] = self._return[lane]
        if not self._finishing[lane]:
            self._close_episode(lane, finished=over)
        if terminated:
            return False
        # the observation that would have followed: what the critic is asked at a truncation or a cut
        self._cut_inputs[lane] = self._filter.one_row(lane // self._plan.lanes, self._observation[lane])
        self._beyond[lane] = self._unfinished[lane] = 0
        self._continuing[lane] = can_go_on and self._sampling.continuation_steps > 0
        if not self._continuing[lane]:
            self._close_boundary(lane, terminated=False)
        return self._go_beyond(lane)

    def _stop_beyond(self, lane: int, *, terminated: bool, over: bool, can_go_on: bool) -> bool:
        """Close what ended with a step beyond the stream; return whether the lane goes on."""
        if self._finishing[lane] and (over or self._unfinished[lane] == self._longest_finish):
            self._close_episode(lane, finished=over)
            self._finishing[lane] = False
        enough = self._beyond[lane] == self._sampling.continuation_steps
        if self._continuing[lane] and (enough or not can_go_on):
            self._close_boundary(lane, terminated=terminated)
            self._continuing[lane] = False
        return self._go_beyond(lane)

    def _go_beyond(self, lane: int) -> bool:
        goes = bool(self._continuing[lane] or self._finishing[lane])
        if goes:
            self._phase[lane] = _BEYOND
        return goes

    def _close_episode(self, lane: int, *, finished: bool) -> None:
        # what was earned past the cut is kept apart: it belongs to the episode, not to the stream's pairs
        beyond = float(self._return[lane]) - float(self._return_at_cut[lane])
        self._recorder.episode(*self._episode_row(lane, finished=finished), beyond)

    def _episode_row(self, lane: int, *, finished: bool) -> tuple[int, int, int, int, int, float, bool]:
        """Return policy, stream, start, number, length and return of a lane's episode, and whether it has ended."""
        times = int(self._start[lane]), int(self._episode[lane]), int(self._elapsed[lane])
        return *self._place(lane), *times, float(self._return[lane]), finished

    def _close_boundary(self, lane: int, *, terminated: bool) -> None:
        rewards = self._beyond_rewards[lane, : self._beyond[lane]].copy()
        time = int(self._time[lane]) - 1
        self._recorder.boundary(*self._place(lane), time, self._cut_inputs[lane].copy(), rewards, terminated)

    def _place(self, lane: int) -> tuple[int, int]:
        return lane // self._plan.lanes, int(self._stream[lane])

    def _begin_streams(self) -> None:
        """Let every idle lane take its policy's next stream."""
        begun, plan = [], self._plan
        for lane in np.flatnonzero(self._phase == _IDLE).tolist():
            policy = lane // self._plan.lanes
            taken = self._queues[policy].take()
            if taken is not None:
                self._stream[lane], row = taken
                self._row[lane] = policy * self._inputs.shape[1] + row
                self._cell[lane] = self._recorder.cell(policy, taken[0])
                # a negative time is the burn-in; the reset makes the episode 0
                named = plan.seeds[policy], plan.purpose, plan.streams[taken[0]]
                self._time[lane], self._episode[lane] = -drawn_burn_in(self._sampling.burn_in, *named), -1
                begun.append(lane)
        self._aligned = np.array_equal(self._row, np.arange(self._inputs.shape[0] * self._inputs.shape[1]))
        self._reset(begun)

    def _reset(self, lanes: Sequence[int]) -> None:
        """Begin the next episode of each lane's stream."""
        if not lanes:
            return
        chosen = np.array(lanes, np.int64)
        self._episode[chosen] += 1
        self._elapsed[chosen] = 0
        self._return[chosen] = 0.0
        # negative for an episode that began in the burn-in
        self._start[chosen] = self._time[chosen]
        self._phase[chosen] = _STREAMING
        self._observation[chosen] = self._engine.reset(chosen, [self._name_draws(lane) for lane in lanes])
        self._check(chosen, self._observation[chosen], "observation")
        self._push_moments(chosen)

    def _name_draws(self, lane: int) -> int:
        """Give the lane's episode its action noise; return the seed of its reset."""
        policy, stream = self._place(lane)
        seed, purpose = self._plan.seeds[policy], self._plan.purpose
        stream, episode = self._plan.streams[stream], int(self._episode[lane])
        self._noise.begin(lane, seed, purpose, stream, episode)
        return derive_seed(seed, purpose, stream=stream, episode=episode, kind="reset")

    def _push_moments(self, lanes: IntArray) -> None:
        if self._plan.update_observations and lanes.size:
            where = np.zeros(len(self._phase), np.bool_)
            where[lanes] = True
            self._filter.push(self._observation.reshape(*self._grid, -1), where.reshape(self._grid))

    def _check(self, lanes: IntArray, values: NDArray[Any], what: str, hint: str = "") -> None:
        """Stop at a NaN or an infinity; one sum finds whether there is any."""
        # one sum instead of a test of every number: not finite where any of them is not
        if math.isfinite(values.sum()):
            return
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if not bad.any():  # finite numbers with an infinite sum
            return
        raise NonFiniteError(
            f"not every {what} is finite in {self._plan.environment}",
            f"look at {self._in_words(int(lanes[bad][0]))}{hint}",
        )

    def _in_words(self, lane: int) -> str:
        """Say which step a lane is at; of which seed, the caller knows: in training they are derived ones."""
        policy, stream = self._place(lane)
        time = int(self._time[lane])
        when = f"step {self._elapsed[lane]} of an episode in the burn-in" if time < 0 else f"step {time}"
        if self._phase[lane] == _BEYOND:
            when = f"beyond step {time - 1}"
        whose = f"policy {policy}, " if len(self._plan.seeds) > 1 else ""
        return f"{whose}stream {self._plan.streams[stream]}, {when}"


def drawn_burn_in(most: int, seed: int, purpose: str, stream: int) -> int:
    """Return the unscored steps that a stream begins with, uniform on 0 to `most`.

    Parameters
    ----------
    most : int
        See `Sampling.burn_in`.
    seed, purpose, stream : int, str, int
        The stream's name, on which alone it depends.
    """
    return int(generator(seed, purpose, stream=stream, kind="burn-in").integers(most + 1)) if most else 0


def _where(active: IntArray, lanes: int) -> Index:
    return slice(None) if active.size == lanes else active


def _where_true(mask: BoolArray) -> Index:
    return slice(None) if mask.all() else mask
