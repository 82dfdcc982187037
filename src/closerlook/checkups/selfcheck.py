"""Every estimator on this machine against cases with known answers: what ``closerlook selfcheck`` shows.

A case passes where its known answer is in an interval of 99.9%, or where an exact recomputation differs by rounding
alone. All draws are named, so that a case that passes does so every time on the same machine.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from closerlook.agents.agent import Agent, Regime
from closerlook.agents.environment import EnvironmentSpec
from closerlook.agents.policies import GaussianMLP
from closerlook.algorithms.joint import JointSettings, Optimizer
from closerlook.algorithms.returns import discounted_sums, gae
from closerlook.checkups import exact_chain as chain
from closerlook.checkups.numbers import mean_of
from closerlook.checkups.sampling import sample_episodes, sample_streams
from closerlook.errors import InputError
from closerlook.execution.threads import single_thread
from closerlook.measurements.stream_sums import StreamRange
from closerlook.nn.networks import MLP
from closerlook.randomness import generator
from closerlook.results.store import as_json
from closerlook.simulation.engine import EngineChoice
from closerlook.simulation.records import Sampling
from closerlook.simulation.rollout import rollout
from closerlook.statistics.estimates import Interval, cosine_matrix, mean_pairwise_cosine
from closerlook.statistics.splits import split_explained_variance, split_noise_scale
from closerlook.statistics.tails import effective_fraction, pareto_k
from closerlook.statistics.true_gradients import cosine_between

CONFIDENCE = 0.999
PURPOSE = "selfcheck"
ROUNDING = 1e-4


@dataclass(frozen=True)
class Calibration:
    """One estimator beside its known answer.

    Parameters
    ----------
    estimator : str
        What.
    known, found : float
        Answers: exact, and on this machine.
    low, high : float
        Between which the known answer has to be.
    passed : bool
        Whether it is.
    """

    estimator: str
    known: float
    found: float
    low: float
    high: float
    passed: bool

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(as_json(asdict(self)))


Case = Callable[[], Iterator[Calibration]]


def _held(name: str, known: float, found: Interval) -> Calibration:
    passed = bool(found.low <= known <= found.high)
    return Calibration(name, float(known), float(found.value), float(found.low), float(found.high), passed)


def _equal(name: str, known: np.ndarray | float, found: np.ndarray | float, most: float = ROUNDING) -> Calibration:
    """Compare by the largest difference, relative to the largest number."""
    scale = max(float(np.abs(known).max()), 1e-12)
    difference = float(np.abs(np.asarray(known) - np.asarray(found)).max()) / scale
    return Calibration(name, 0.0, difference, 0.0, most, bool(difference <= most))


def statistics_cases() -> Iterator[Calibration]:
    """Estimators on numbers whose distribution is known."""
    draws = generator(0, PURPOSE)
    size, signal = 400, np.zeros(400)
    signal[0] = 10.0
    # estimates g + e, e of variance 1 in D components: mean cosine |g|^2 / (|g|^2 + D), noise scale D / |g|^2
    estimates = signal + draws.standard_normal((48, size))
    cosine = mean_pairwise_cosine(cosine_matrix(estimates), confidence=CONFIDENCE)
    yield _held("mean pairwise cosine of gradients", 100 / (100 + size), cosine)
    # each estimate is the mean of 64 pairs here, so that B counts 64 times as many
    scale = split_noise_scale(64 * estimates, np.full(48, 64.0), confidence=CONFIDENCE).pairs
    yield _held("noise scale, pairs", 64 * size / 100, scale)
    # (0.6, 0.8) against (1, 0): unit vectors whose cosine is 0.6, under noise of four times their squared length
    other = np.zeros(size)
    other[:2] = 10.0 * np.array([0.6, 0.8])
    both = estimates, other + draws.standard_normal((48, size))
    yield _held("cosine of two gradients, noise taken off", 0.6, cosine_between(*both, confidence=CONFIDENCE))
    # targets V + e with Var V = 1, Var e = 1/4: 1 - Var e / Var(V + e) = 1 / 1.25
    values, errors = draws.standard_normal((64, 128)), 0.5 * draws.standard_normal((64, 128))
    groups = np.broadcast_to(np.arange(64)[:, None], values.shape).ravel()
    explained = split_explained_variance(values.ravel(), (values + errors).ravel(), groups, confidence=CONFIDENCE)
    yield _held("explained variance", 1 / 1.25, explained)
    # lognormal ratios of mean 1 and s = 1/2: (E r)^2 / E r^2 = exp(-s^2)
    ratios = np.exp(0.5 * draws.standard_normal(200_000) - 0.125)
    share = effective_fraction(ratios)
    yield _held("effective share of pairs", np.exp(-0.25), Interval(share, share - 0.02, share + 0.02))
    # U^(-1/2) of a uniform U has the tail x^(-2): generalized Pareto with k = 1/2
    shape = pareto_k((1 - draws.random(100_000)) ** -0.5)
    yield _held("shape of the ratios' tail", 0.5, Interval(shape, shape - 0.1, shape + 0.1))


def recursion_cases() -> Iterator[Calibration]:
    """Advantages and returns against their definition, sum by sum."""
    draws = generator(1, PURPOSE)
    steps, gamma, decay = 40, 0.97, 0.9
    rewards, values, following = (torch.from_numpy(draws.standard_normal((1, 1, steps))) for _ in range(3))
    ends = torch.from_numpy(draws.random((1, 1, steps)) < 0.1)
    ends[..., -1] = True
    # delta_t = r_t + gamma V(s_t+1) - V(s_t)
    delta = (rewards + gamma * following - values)[0, 0].numpy()
    # A_t = sum_k (gamma lambda)^k delta_{t+k} and R_t = sum_k gamma^k r_{t+k}, up to the first end
    stop = [next(k for k in range(t, steps) if ends[0, 0, k]) for t in range(steps)]
    slow = np.array([sum((gamma * decay) ** (k - t) * delta[k] for k in range(t, stop[t] + 1)) for t in range(steps)])
    fast = gae(rewards, values, following, ends, gamma=gamma, gae_lambda=decay)[0, 0].numpy()
    yield _equal("generalized advantages", slow, fast)
    own = rewards[0, 0].numpy()
    sums = np.array([sum(gamma ** (k - t) * own[k] for k in range(t, stop[t] + 1)) for t in range(steps)])
    yield _equal("discounted returns", sums, discounted_sums(rewards, ends, gamma)[0, 0].numpy())


def optimizer_cases() -> Iterator[Calibration]:
    """Adam, beside torch's."""
    agent = _gaussian()
    settings = JointSettings(learning_rate=0.01)
    own = Optimizer(agent, settings)
    theirs = {name: tensor.clone().requires_grad_() for name, tensor in agent.policy_parameters.items()}
    adam = torch.optim.Adam(theirs.values(), lr=0.01, eps=settings.optimizer_epsilon)
    draws = generator(2, PURPOSE)
    for _ in range(20):
        slopes = {name: torch.from_numpy(draws.standard_normal(t.shape)).float() for name, t in theirs.items()}
        own.step({f"policy.{name}": slope for name, slope in slopes.items()})
        for name, tensor in theirs.items():
            tensor.grad = slopes[name]
        adam.step()
    known, found = (
        np.concatenate([t.detach().numpy().ravel() for t in one.values()]) for one in (theirs, own.part("policy"))
    )
    yield _equal("Adam, beside torch's", known, found)


def _gaussian() -> Agent:
    network = GaussianMLP(MLP((11, 16, 3)))
    parameters = network.initialize(generator(0, PURPOSE), "orthogonal")
    return Agent(network, None, {f"policy.{name}": value for name, value in parameters.items()}, regime=Regime(1, 64))


def simulation_cases() -> Iterator[Calibration]:
    """Hold the MuJoCo engine against Gymnasium's own environment, and named draws against themselves."""
    first = float(generator(7, PURPOSE, stream=3, episode=1).standard_normal())
    again = float(generator(7, PURPOSE, stream=3, episode=1).standard_normal())
    yield _equal("named draws", first, again, 0.0)
    agent, where = _gaussian(), EnvironmentSpec("Hopper-v5")
    engines: tuple[EngineChoice, ...] = ("gymnasium", "fastest")
    slow, fast = (
        rollout(agent, where, Sampling(64), seeds=[0], purpose=PURPOSE, streams=range(4), engine=one) for one in engines
    )
    yield _equal("observations of the fast engine", slow.observations, fast.observations, 0.0)
    yield _equal("rewards of the fast engine", slow.rewards, fast.rewards, 0.0)


def chain_cases() -> Iterator[Calibration]:
    """Simulate a chain that linear algebra answers, and reduce it as agents are."""
    agent = chain.chain_agent()
    assert agent.environment is not None
    played = sample_episodes(agent, agent.environment, StreamRange(0, PURPOSE, 0, 600), "sampled", 1000)
    yield _held("mean episode return", float(chain.START @ chain.values(1.0)), mean_of(played["returns"], CONFIDENCE))
    steps = 32
    sampling = Sampling(steps, continuation_steps=60)
    found = sample_streams(agent, agent.environment, sampling, StreamRange(0, PURPOSE, 0, 240))
    yield _held(
        "discounted return", float(chain.START @ chain.values(chain.GAMMA)), mean_of(found["returns"][:, 0], CONFIDENCE)
    )
    # E[G_t | s_t] = V(s_t): what a right critic leaves has mean 0 at every step, so over a stream too
    level = found["returns"] - found["values"]
    yield _held("critic that is right: mean error", 0.0, mean_of(level.mean(axis=1), CONFIDENCE))
    exact = chain.gradient(steps)
    for name, key in (("with Monte Carlo returns", "true_gradients"), ("with advantages", "gradients")):
        # sums of A grad log pi are g on average: their part along g is 1 of |g|, across it 0
        along = found[key].astype(np.float64) @ exact / (exact @ exact)
        yield _held(f"policy gradient {name}, along the exact one", 1.0, mean_of(along, CONFIDENCE))
        across = np.eye(len(exact)) - np.outer(exact, exact) / (exact @ exact)
        first = found[key].astype(np.float64) @ across[:, 0]
        yield _held(f"policy gradient {name}, across it", 0.0, mean_of(first, CONFIDENCE))


CASES: tuple[Case, ...] = (statistics_cases, recursion_cases, optimizer_cases, simulation_cases, chain_cases)


@single_thread()
def selfcheck() -> tuple[Calibration, ...]:
    """Try every estimator on this machine against cases with known answers.

    Returns
    -------
    tuple of Calibration
        One for each; nothing is raised where one fails.

    Raises
    ------
    InputError
        Where the environments that it takes cannot be built.

    Examples
    --------
    >>> import closerlook as cl
    >>> all(one.passed for one in cl.selfcheck())
    True

    See Also
    --------
    closerlook.checkup : what is wrong with an agent.
    """
    try:
        return tuple(one for case in CASES for one in case())
    except ImportError as error:
        raise InputError(f"something is not installed ({error})", "install closerlook with its dependencies") from None
