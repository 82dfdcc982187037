"""Which update an agent's algorithm makes, by name, and with which settings, state and place in its schedule."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

from closerlook.agents.agent import Agent
from closerlook.algorithms.contrib_trpo import ContribTRPOSettings, contrib_trpo_update
from closerlook.algorithms.joint import JointSettings, joint_update
from closerlook.algorithms.natural import NaturalSettings, natural_update
from closerlook.algorithms.ppo import PPOSettings, ppo_update
from closerlook.algorithms.surrogate import SURROGATES
from closerlook.algorithms.trpo import TRPOSettings, trpo_update
from closerlook.algorithms.update import UpdateInfo
from closerlook.algorithms.vanilla import VanillaSettings, vanilla_update
from closerlook.arguments import Algorithm, plain_values
from closerlook.errors import InputError

UpdateSettings = PPOSettings | TRPOSettings | NaturalSettings | VanillaSettings | JointSettings | ContribTRPOSettings

ALGORITHMS: Mapping[str, type[UpdateSettings]] = {
    "ppo": PPOSettings,
    "trpo": TRPOSettings,
    "natural": NaturalSettings,
    "vanilla": VanillaSettings,
}
"""The settings of each algorithm's update."""

IMPORTED: Mapping[str, type[UpdateSettings]] = {
    "sb3-ppo": JointSettings,
    "sb3-a2c": JointSettings,
    "sb3-trpo": ContribTRPOSettings,
}
"""The settings of the updates that other libraries make, which only their agents have."""

UPDATES: Mapping[str, Callable[..., tuple[Agent, UpdateInfo]]] = {
    "ppo": ppo_update,
    "trpo": trpo_update,
    "natural": natural_update,
    "vanilla": vanilla_update,
    "sb3-ppo": joint_update,
    "sb3-a2c": joint_update,
    "sb3-trpo": contrib_trpo_update,
}
"""What updates a population, by the name of its algorithm."""

DEFAULT_CLIP = 0.2
"""Epsilon of the clipped surrogate, and of the ratios counted, for algorithms that clip nothing."""


@dataclass(frozen=True)
class Rule:
    """One update of one agent.

    Parameters
    ----------
    algorithm : str
        Its name.
    settings : UpdateSettings
        How.
    iteration : int
        The place in the schedule: updates made before.
    fresh_optimizer : bool
        Whether an optimizer with a memory starts without one, because the agent's was not kept or is of another
        algorithm.
    """

    algorithm: str
    settings: UpdateSettings
    iteration: int
    fresh_optimizer: bool

    @property
    def is_joint(self) -> bool:
        """Whether the policy's update looks at its critic."""
        return isinstance(self.settings, JointSettings)

    @property
    def watches(self) -> bool:
        """Whether the update can be watched minibatch by minibatch."""
        return isinstance(self.settings, PPOSettings | JointSettings)


def clip_of(settings: UpdateSettings) -> float:
    """Return the epsilon of an algorithm's clipped surrogate, `DEFAULT_CLIP` where it clips nothing."""
    clip = settings.clip if isinstance(settings, PPOSettings | JointSettings) else None
    return DEFAULT_CLIP if clip is None else clip


def climbed_surrogate(agent: Agent, rule: Rule) -> int:
    """Return which surrogate an update climbs, by its place among `closerlook.algorithms.surrogate.SURROGATES`.

    Parameters
    ----------
    agent : Agent
        Whose advantages are normalized or not.
    rule : Rule
        The update.
    """
    if isinstance(rule.settings, PPOSettings | JointSettings) and rule.settings.clip is not None:
        return SURROGATES.index("clipped")
    return SURROGATES.index("normalized" if agent.normalize_advantages else "plain")


def rule_of(agent: Agent, algorithm: str | None = None) -> Rule:
    """Return the update that an agent's training would make next.

    Parameters
    ----------
    agent : Agent
        A single one. After the last update of an annealed schedule, the last one is meant: the next would not move.
    algorithm : str, optional
        Another one, with its default settings; default the agent's own with the agent's settings, else PPO. Of an
        imported agent, its own goes by the short name too: ``ppo`` is ``sb3-ppo``. The agent has made no update by
        another one: it is at the first of that schedule, with an empty memory.

    Raises
    ------
    InputError
        Where there is no such algorithm, or the agent's settings are not its.
    """
    known = {**ALGORITHMS, **IMPORTED}
    name = str(algorithm or (agent.algorithm if agent.algorithm in known else "ppo"))
    if agent.algorithm is not None and agent.algorithm in IMPORTED and agent.algorithm.endswith(f"-{name}"):
        name = agent.algorithm
    if name not in ALGORITHMS and name != agent.algorithm:
        raise InputError(f"there is no algorithm {name!r}", f"choose from {', '.join(get_args(Algorithm))}")
    kind, own = known[name], name == agent.algorithm
    given: dict[str, Any] = dict(agent.algorithm_settings) if own else {}
    unknown = sorted(set(given) - {field.name for field in fields(kind)})
    if unknown:
        what = f"the agent's settings of {name} hold {unknown[0]!r}, which {name} does not have"
        raise InputError(what, "leave it out, or name the algorithm to measure it with its defaults")
    settings = kind(**plain_values(kind, given))
    # another algorithm has made no update of this agent: the first of its schedule, with an empty memory
    iteration = (agent.iteration or 0) if own else 0
    if isinstance(settings, PPOSettings) and settings.anneal:
        # after the last iteration the annealed rate is 0: the last update that moves is meant
        iteration = min(iteration, settings.total_iterations - 1)
    kept = own and bool(agent.part("optimizer.policy"))
    return Rule(name, settings, iteration, _remembers(settings) and not kept)


def has_own_rule(agent: Agent) -> bool:
    """Whether an agent's algorithm is one whose updates are known."""
    return agent.algorithm in ALGORITHMS or agent.algorithm in IMPORTED


def _remembers(settings: UpdateSettings) -> bool:
    if isinstance(settings, JointSettings):
        return True
    return isinstance(settings, PPOSettings) or (isinstance(settings, VanillaSettings) and settings.optimizer == "adam")


def without_critic(agents: Agent) -> Agent:
    """Return a population whose update fits no critic: no policy's update looks at its critic's but a joint one's.

    The batch must have been made before, as its advantages come from the critic.
    """
    return replace(agents, value=None)


def without_memory(agents: Agent) -> Agent:
    """Return a population whose policies' optimizer begins anew."""
    return replace(agents, state={k: v for k, v in agents.state.items() if not k.startswith("optimizer.policy.")})


def assumptions(agent: Agent) -> dict[str, str]:
    """Return what is taken for settings that an agent does not say, by name; empty where it says them all.

    An agent of the user's own modules is measured as the paper's would be where it leaves something out, and one of an
    algorithm that is not known here makes no updates of its own.
    """
    taken = {name: str(getattr(agent, name)) for name in agent.unsaid}
    if "reward_scaling" in taken:
        taken["reward_scaling"] = "none (rewards as they are)"
    if "regime" in taken:
        taken["regime"] = f"batches of {agent.regime.n_envs} x {agent.regime.n_steps} steps from resets"
    if not has_own_rule(agent):
        taken["updates"] = "those of PPO with the paper's settings"
    return taken
