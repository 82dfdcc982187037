"""What a checkup answers: findings in layers, the cause among them, and what could not be judged."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from closerlook.results.store import as_json

Level = Literal["ok", "watch", "problem", "not_enough_data", "unknown"]
ORDER: tuple[Level, ...] = ("ok", "unknown", "not_enough_data", "watch", "problem")
"""Levels by rising weight."""

DIAGNOSES: Mapping[str, tuple[str, ...]] = {
    "load": ("not_the_trained_agent",),
    "reward": ("not_learned", "solved"),
    "inputs": ("broken_inputs",),
    "steps": ("broken_steps",),
    "batch": ("wrong_advantages",),
    "actions": ("exploration_collapsed", "exploration_too_wide", "actions_saturated"),
    "scales": ("horizon_too_short", "batch_too_short"),
    "critic": ("critic_scale", "critic_useless", "critic_late"),
    "update": ("value_takes_the_step", "update_too_long", "update_too_short", "clip_too_tight"),
    "gradient": ("no_signal", "batch_too_small", "lambda_off", "wrong_direction"),
    "network": ("network_worn_out",),
    "end": ("healthy", "more_seeds", "more_steps"),
}
"""Diagnoses by layer, cheapest and most fundamental first."""
LAYERS = tuple(DIAGNOSES)
LAYER_OF = {diagnosis: layer for layer, own in DIAGNOSES.items() for diagnosis in own}

EXPLAINS: Mapping[str, frozenset[str]] = {
    "wrong_advantages": frozenset({"broken_steps"}),
    "horizon_too_short": frozenset({"exploration_collapsed", "actions_saturated"}),
    "batch_too_short": frozenset({"exploration_collapsed", "actions_saturated"}),
    "no_signal": frozenset({"critic_scale", "critic_useless", "critic_late"}),
    "update_too_long": frozenset(
        {"exploration_collapsed", "actions_saturated", "critic_scale", "critic_useless", "critic_late"}
    ),
}
"""What a fault explains though its layer is later: states of an agent follow from settings, batches and rewards, and
never the other way around."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Parameters
    ----------
    diagnosis, layer : str
        See `DIAGNOSES`.
    level : {"ok", "watch", "problem", "not_enough_data", "unknown"}
        How it stands.
    statement : str
        What the numbers say.
    evidence : mapping of str to float
        Numbers; ends of intervals as ``_low`` and ``_high``.
    usual : mapping of str to (float, float)
        What healthy agents have.
    advice : str
        What to do.
    settings : mapping of str to {"from", "to", "effect"}
        The same in the library's own settings.
    pairs_to_settle : float or None
        How many pairs would decide it, where it is open.
    """

    diagnosis: str
    layer: str
    level: Level
    statement: str
    evidence: Mapping[str, float] = field(default_factory=dict)
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    advice: str = ""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pairs_to_settle: float | None = None

    @property
    def reason(self) -> str:
        """The statement of what was not judged: why."""
        return self.statement.removeprefix("Not judged: ")

    def to_json(self) -> dict[str, Any]:
        """Return plain values; numbers that are not finite are None."""
        return dict(as_json(asdict(self)))


@dataclass(frozen=True)
class Checkup:
    """What is wrong with an agent, and what to change.

    Parameters
    ----------
    agent, environment : str
        Which.
    checks : tuple of Finding
        By layer.
    minutes : float
        What was asked for.
    pairs : int
        What was simulated.
    notices : tuple of str
        What else whoever reads it should know.
    interrupted : bool
        Whether it was ended before its plan was spent.

    Examples
    --------
    >>> from closerlook.checkups import Checkup, Finding
    >>> critic = Finding("critic_useless", "critic", "problem", "Values are all equal.")
    >>> found = Checkup("mine.zip", "CartPole-v1", (critic,))
    >>> found.cause.diagnosis
    'critic_useless'
    """

    agent: str
    environment: str
    checks: tuple[Finding, ...]
    minutes: float = 0.0
    pairs: int = 0
    notices: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def level(self) -> Level:
        """The gravest level of any check that was judged, ``unknown`` where none was."""
        judged = [check.level for check in self.checks if check.level in {"ok", "watch", "problem"}]
        return max(judged, key=ORDER.index, default="unknown")

    @property
    def cause(self) -> Finding | None:
        """The problem that explains the others, None where there is none.

        That of the earliest layer, but for what a later one is known to bring about (`EXPLAINS`). That an
        agent has not learned is what is to be explained: it is the cause only where nothing else is found.
        """
        problems = [check for check in self.checks if check.level == "problem"]
        # what a problem elsewhere is known to bring about is no cause, however early its layer
        explained = {other for check in problems for other in EXPLAINS.get(check.diagnosis, ())}
        ranked = sorted(problems, key=lambda check: LAYERS.index(check.layer))
        deeper = [check for check in ranked if check.diagnosis not in explained | {"not_learned"}]
        return next(iter(deeper or ranked), None)

    def may_be_cause(self, check: Finding) -> bool:
        """Whether a check that is open would, as a problem, be the cause in place of the one there is."""
        cause = self.cause
        if cause is None or cause.diagnosis == "not_learned":
            return True
        # an open check matters where it stands before the cause and the cause does not explain it, or where it explains
        # the
        # cause; nothing else that is open can change what is said first
        first = LAYERS.index(check.layer) < LAYERS.index(cause.layer)
        explained = check.diagnosis in EXPLAINS.get(cause.diagnosis, ())
        return (first and not explained) or cause.diagnosis in EXPLAINS.get(check.diagnosis, ())

    @property
    def consequences(self) -> tuple[Finding, ...]:
        """Every other problem, which may be gone once the cause is."""
        cause = self.cause
        return tuple(check for check in self.checks if check.level == "problem" and check is not cause)

    @property
    def watched(self) -> tuple[Finding, ...]:
        """What is at ``watch``."""
        return tuple(check for check in self.checks if check.level == "watch")

    @property
    def unknown(self) -> tuple[Finding, ...]:
        """What was not judged, each with the reason as its statement."""
        return tuple(check for check in self.checks if check.level in {"unknown", "not_enough_data"})

    def __getitem__(self, diagnosis: str) -> Finding:
        return next(check for check in self.checks if check.diagnosis == diagnosis)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as ``closerlook checkup --json`` prints them."""
        cause = self.cause
        return {
            "level": self.level,
            "cause": None if cause is None else cause.to_json(),
            "consequences": [check.to_json() for check in self.consequences],
            "checks": [check.to_json() for check in self.checks],
            "unknown": [
                {
                    "diagnosis": check.diagnosis,
                    "layer": check.layer,
                    "reason": check.reason,
                    "pairs_to_settle": check.to_json()["pairs_to_settle"],
                }
                for check in self.unknown
            ],
            "agent": self.agent,
            "environment": self.environment,
            "minutes": self.minutes,
            "pairs": self.pairs,
            "notices": list(self.notices),
            "interrupted": self.interrupted,
        }

    def __repr__(self) -> str:
        from closerlook.checkups.text import written  # noqa: PLC0415 - which writes what is defined here

        return written(self)

    def _repr_html_(self) -> str:
        from closerlook.pages.checkup import checkup_fragment  # noqa: PLC0415 - jinja is loaded where it is shown

        return checkup_fragment(self.to_json())

    def to_html(self, path: str | Path) -> Path:
        """Write one offline page.

        Raises
        ------
        InputError
            Where it cannot be written.
        """
        from closerlook.pages.checkup import checkup_page  # noqa: PLC0415 - jinja is loaded where it is shown
        from closerlook.results.writing import write_bytes  # noqa: PLC0415

        return write_bytes(Path(path), checkup_page(self.to_json()).encode())
