"""What checks are given: named numbers, limits, and the agent's settings by its own library's names."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from closerlook.checkups.answer import LAYER_OF, Finding, Level
from closerlook.checkups.limits import Limit
from closerlook.monitor.checks import Check
from closerlook.statistics.estimates import Interval

UNKNOWN = Interval(np.nan, np.nan, np.nan)

NAMES: Mapping[str, Mapping[str, str]] = {
    "stable-baselines3": {
        "epochs": "n_epochs",
        "clip": "clip_range",
        "value_coefficient": "vf_coef",
        "entropy_coefficient": "ent_coef",
        "normalize_inputs": "VecNormalize(norm_obs)",
        "normalize_rewards": "VecNormalize(norm_reward)",
    },
    "cleanrl": {
        "n_steps": "num_steps",
        "epochs": "update_epochs",
        "clip": "clip_coef",
        "value_coefficient": "vf_coef",
        "entropy_coefficient": "ent_coef",
        "normalize_inputs": "NormalizeObservation",
        "normalize_rewards": "NormalizeReward",
    },
    "closerlook": {
        "learning_rate": "policy_learning_rate",
        "epochs": "policy_epochs",
        "normalize_inputs": "observation_scaling",
        "normalize_rewards": "reward_scaling",
    },
}
"""Settings by other libraries' names, where they differ from closerlook's."""

MOST_PAIRS = 1e9
"""Nobody is told to sample more."""
POOLS: Mapping[str, frozenset[str]] = {
    "episodes": frozenset(
        {
            *("sampled_return", "mode_return", "random_return", "return_effect", "noise_cost", "episode_length"),
            *("distinct_returns", "share_to_limit"),
        }
    ),
    "updates": frozenset({"heldout_kl", "clip_fraction", "heldout_gain", "policy_gradient_to_epsilon", "best_gain"}),
}
"""Which pool a number comes from, where it is not that of streams."""


def pool_of(number: str) -> str:
    """Return what more of would narrow a number's interval: ``episodes``, ``updates`` or ``streams``."""
    return next((pool for pool, numbers in POOLS.items() if number in numbers), "streams")


@dataclass(frozen=True)
class Case:
    """What is known of an agent.

    Parameters
    ----------
    numbers : mapping of str to Interval
        By name; see `closerlook.checkups.numbers`.
    limits : mapping of str to Limit
        From where on each is no longer that of a healthy agent.
    settings : mapping of str to float
        The agent's, by closerlook's names.
    library : str
        Which trained it.
    identity : (str, tuple of str)
        ``same``, ``unlike``, ``changed`` (it earns another mean than its record, but no more than single episodes of it
        did) or ``unknown``, and why.
    missing : mapping of str to str
        What the agent's file does not say, to how to give it.
    features : sequence of str
        Names of the components of an observation.
    spreads : sequence of float
        Their deviations, as the networks see them.
    shares : sequence of float
        Of each component in what the policy's first layer sees; empty where not known.
    standardized : bool
        Whether inputs are standardized.
    solved_at : float or None
        The return at which the task counts as solved.
    lint : sequence of Check, or None
        Of a batch that was given.
    non_finite : str
        What was not finite while sampling; empty: nothing.
    not_sampled : mapping of str to str
        Why a pool is empty, or a number is not known.
    has_critic : bool
        Whether there is one.
    spent : mapping of str to float
        Pairs of each pool.
    record : sequence of float
        Returns of the last episodes of training, in their order.
    seed_returns : sequence of float
        What agents of the same training from other seeds, and this one, earn at its end.
    """

    numbers: Mapping[str, Interval]
    limits: Mapping[str, Limit]
    settings: Mapping[str, float] = field(default_factory=dict)
    library: str = "closerlook"
    identity: tuple[str, tuple[str, ...]] = ("unknown", ())
    missing: Mapping[str, str] = field(default_factory=dict)
    features: Sequence[str] = ()
    spreads: Sequence[float] = ()
    shares: Sequence[float] = ()
    standardized: bool = False
    solved_at: float | None = None
    lint: Sequence[Check] | None = None
    non_finite: str = ""
    not_sampled: Mapping[str, str] = field(default_factory=dict)
    has_critic: bool = True
    spent: Mapping[str, float] = field(default_factory=dict)
    record: Sequence[float] = ()
    seed_returns: Sequence[float] = ()

    def __getitem__(self, number: str) -> Interval:
        return self.numbers.get(number, UNKNOWN)

    def value(self, number: str) -> float:
        """Return a number, or a setting, without its interval; NaN where it is not known."""
        found = self.settings.get(number)
        return float(self[number].value if found is None else found)

    def level(self, number: str) -> Level:
        """Say how a number, or a setting, stands by its limit."""
        own = self.settings.get(number)
        found = self[number] if own is None else Interval(own, own, own)
        return self.limits[number].level(found)

    def setting(self, name: str) -> str:
        """Return a setting's name in the library that trained the agent."""
        return NAMES.get(self.library, {}).get(name, name)

    def change(self, name: str, to: Any, effect: str) -> dict[str, dict[str, Any]]:
        """Advise a setting's change, in the library's own name.

        Parameters
        ----------
        name : str
            The setting, by closerlook's own name.
        to : value
            What to set it to.
        effect : str
            What the change is expected to do.
        """
        before = self.settings.get(name)
        return {self.setting(name): {"from": before, "to": to, "effect": effect}}

    @property
    def is_solved(self) -> bool:
        """Whether the agent surely earns what the task's solution is said to."""
        return self.solved_at is not None and self["sampled_return"].low >= self.solved_at

    def finding(
        self,
        diagnosis: str,
        level: Level,
        statement: str,
        numbers: Sequence[str] = (),
        **more: Any,
    ) -> Finding:
        """Put a finding together, with its numbers, their usual ranges, and what would settle it.

        Parameters
        ----------
        diagnosis : str
            What was judged.
        level : str
            ok, watch, problem or unknown.
        statement : str
            What was found, in a sentence.
        numbers : sequence of str
            Names of the numbers and settings that it rests on.
        **more : dict
            Further fields of the finding.
        """
        evidence: dict[str, float] = {}
        for name in numbers:
            if name in self.settings:
                evidence[name] = self.settings[name]
                continue
            found = self[name]
            evidence[name] = found.value
            if found.low != found.high:
                evidence |= {f"{name}_low": found.low, f"{name}_high": found.high}
        usual = {name: self.limits[name].usual for name in numbers if name in self.limits}
        settle = self._pairs_to_settle(numbers[:1]) if level == "not_enough_data" else None
        return Finding(
            diagnosis, LAYER_OF[diagnosis], level, statement, evidence, usual, pairs_to_settle=settle, **more
        )

    def _pairs_to_settle(self, numbers: Sequence[str]) -> float | None:
        factors = [
            self.limits[name].factor_to_settle(self[name]) * self.spent.get(pool_of(name), math.nan)
            for name in numbers
            if name in self.limits and name in self.numbers and self.level(name) == "not_enough_data"
        ]
        known = [pairs for pairs in factors if math.isfinite(pairs)]
        return float(f"{max(known):.2g}") if known and max(known) < MOST_PAIRS else None

    def unknown(self, diagnosis: str, reason: str) -> Finding:
        """Say that something was not judged, and why.

        Parameters
        ----------
        diagnosis : str
            What was not judged.
        reason : str
            Why not, in a sentence.
        """
        return self.finding(diagnosis, "unknown", reason)

    def not_known(self, diagnosis: str, *numbers: str) -> Finding | None:
        """Return why a check cannot be made where one of its numbers is not known; None where all are.

        Parameters
        ----------
        diagnosis : str
            What the check would judge.
        *numbers : str
            Names of the numbers and settings that it needs.
        """
        for name in numbers:
            if name in self.settings or not np.isnan(self[name].value):
                continue
            nothing = f"{name.replace('_', ' ')} is not known of this agent"
            reason = self.not_sampled.get(name, self.not_sampled.get(pool_of(name), nothing))
            return self.unknown(diagnosis, f"Not judged: {reason}.")
        return None


def gravest(*levels: Level) -> Level:
    """Return the gravest of the levels of several numbers; one that is open might be a problem."""
    return next((level for level in ("problem", "not_enough_data", "watch", "unknown") if level in levels), "ok")


def shown(found: Interval, form: str = ".3g") -> str:
    """Write a number with its interval.

    Parameters
    ----------
    found : Interval
        The number, in its own unit.
    form : str
        Format of each number.
    """
    if np.isnan(found.value):
        return "not known"
    if not (np.isfinite(found.low) and np.isfinite(found.high)) or found.low == found.high:
        return f"{found.value:{form}}"
    return f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})"


def power_of_two(number: float) -> int:
    """Return the next power of two, as steps of a batch usually are."""
    return int(2 ** max(0, math.ceil(math.log2(max(number, 1.0)))))
