"""How a run is repeated: its command as it was given, or as its settings say."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from closerlook.diagnostics import all_diagnostics
from closerlook.diagnostics.options import flag_of, listed
from closerlook.pages.runs import Run

_TRAIN = {"environment": "env", "algorithm": "algo", "seeds": "seeds", "steps": "steps", "checkpoints": "checkpoints"}
_CHECKUP = {"minutes": "minutes"}


def command_of(run: Run) -> str:
    """Return the command that repeats a run; AGENT stands for what its record names by a digest alone.

    Parameters
    ----------
    run : Run
        Whose record holds the command, or only settings.
    """
    given, settings = run.record.get("command"), run.record["settings"]
    if isinstance(given, str) and given:
        return given
    if run.kind in all_diagnostics():
        words = ["AGENT", *_environment(settings.get("environment")), *_options(run.kind, settings)]
    elif run.kind in {"train", "checkup"}:
        names = _TRAIN if run.kind == "train" else _CHECKUP
        words = [] if run.kind == "train" else ["AGENT", *_environment(settings.get("environment"))]
        words += [word for name, flag in names.items() for word in _flag(flag, settings.get(name))]
        words += _flag("seed", settings.get("seed") or None)
    else:
        return ""
    return f"closerlook {run.kind} {' '.join(map(shlex.quote, words))}"


def _environment(found: Any) -> list[str]:
    name = found.get("id") if isinstance(found, Mapping) else found
    return _flag("env", name)


def _options(kind: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options that are not as they are without being given."""
    for field in listed(all_diagnostics()[kind].Options):
        usual = [*field.default] if isinstance(field.default, tuple) else field.default
        if field.name in settings and settings[field.name] != usual:
            yield from _flag(flag_of(field), settings[field.name])


def _flag(name: str, value: Any) -> list[str]:
    """Write an option with its value, or values; none where it has none."""
    if value is None or value is False or value == [] or isinstance(value, Mapping):
        return []
    values = [] if value is True else value if isinstance(value, list) else [value]
    return [f"--{name}", *map(str, values)]
