"""Presets: what a study trains, measures, draws and judges, as a YAML file; those of the paper are in `presets/`.

::

    figure: Figure 2                          title: ...            source: ...         paper: what it shows there
    like: fig1                                all that is not said here is as there
    tasks: [hopper, walker2d]                 algorithms: [ppo, trpo]                   or agents: [runs/mine, ppo.zip]
    train: {preset: paper}                    settings of training; audit: critic looks at it after every update
    seeds: 5                                  iterations: [0, 150, 300, 450]
    measure:
      pool: {diagnostic: gradients, options: {estimates: 10}}
    draw: true_cosine                         parts: [pool]         claims: [more-pairs-help]
    scales:
      smoke: {seeds: 2, measure: {pool: {options: {pairs: 10240}}}}

What a scale says wins over what is said outside it. Files are read as data alone, and checked before anything runs.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from closerlook.diagnostics import find_diagnostic
from closerlook.errors import InputError
from closerlook.studies.yaml_files import as_list, mapping, parse, read, require_keys, text, texts, whole

Scale = Literal["smoke", "laptop", "paper"]
"""``smoke``: a minute or two a figure; ``laptop``: a night on two cores; ``paper``: the paper's own numbers."""
Picture = Literal[
    "pairwise_cosine",
    "true_cosine",
    "baselines",
    "critic_heldout",
    "critic_trained",
    "rewards",
    "settings",
    "budgets",
    "planes",
    "sample_regime",
    "own",
]
"""What is drawn of each task and algorithm; ``own``: the diagnostic's own figures."""
_FOLDER = files("closerlook.studies.presets")
_TEXTS = ("figure", "title", "source", "paper")
_NAMES = ("tasks", "algorithms", "agents", "claims", "parts")
_MAPPINGS = ("train", "regimes")
_AT_SCALE = ("tasks", "algorithms", "agents", "seeds", "iterations", "train", "measure", "regimes")
_ALL = (*_TEXTS, *_NAMES, *_MAPPINGS, "seeds", "like", "iterations", "measure", "draw", "audit", "scales")


@dataclass(frozen=True)
class Part:
    """One measurement of each column of a study.

    Parameters
    ----------
    diagnostic : str
        Its name.
    options : mapping
        Those that are not the default.
    """

    diagnostic: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """A study at one scale.

    Parameters
    ----------
    name : str
        What it is called: ``"fig1"``, or the stem of a user's file.
    figure, title, source, paper : str
        Which of the paper's figures it is, what it shows, where it is, and what was seen there.
    tasks, algorithms : tuple of str
        What agents are trained on, and how; each pair is a column.
    agents : tuple of str
        In their place agents that there are, by the names that every command takes.
    train : mapping
        Fields of `closerlook.TrainSettings`, and ``preset``.
    audit : {"", "critic"}
        Whether critics are judged after every update.
    seeds : int
        Agents of each column.
    iterations : tuple of int
        Checkpoints that are measured; empty: the last.
    measure : mapping of str to Part
        What is measured of them, by a name of its own.
    parts : tuple of str
        Of `measure`, those that are drawn; empty: all.
    draw : str
        See `Picture`.
    claims : tuple of str
        Claims that are judged by what was found.
    regimes : mapping
        Fields of `closerlook.studies.sample_regime.Regimes`, for that study.
    """

    name: str
    figure: str = ""
    title: str = ""
    source: str = ""
    paper: str = ""
    tasks: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("ppo",)
    agents: tuple[str, ...] = ()
    train: Mapping[str, Any] = field(default_factory=dict)
    audit: str = ""
    seeds: int = 1
    iterations: tuple[int, ...] = ()
    measure: Mapping[str, Part] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    draw: Picture = "own"
    claims: tuple[str, ...] = ()
    regimes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def drawn(self) -> dict[str, Part]:
        """The measurements that the picture is made of."""
        return {name: part for name, part in self.measure.items() if not self.parts or name in self.parts}


def preset_names() -> list[str]:
    """Return the names of the studies that come with the package: ``fig1`` to ``fig20``, ``table1`` and others."""
    stems = [one.name.removesuffix(".yaml") for one in _FOLDER.iterdir() if one.name.endswith(".yaml")]
    return sorted(
        stems, key=lambda stem: (not stem.startswith("fig"), int(stem[3:]) if stem[3:].isdecimal() else 0, stem)
    )


def load_preset(name: str, scale: Scale, *, tasks: tuple[str, ...] = (), seeds: int | None = None) -> Preset:
    """Read a study at a scale.

    Parameters
    ----------
    name : str
        Of `preset_names`, or the path of a YAML file.
    scale : {"smoke", "laptop", "paper"}
        How large.
    tasks : tuple of str
        In place of those that it names; empty: those.
    seeds : int, optional
        In place of its own number.

    Raises
    ------
    InputError
        Where there is no such study, or its file says what means nothing; names the file and the key.
    """
    if scale not in get_args(Scale):
        raise InputError(f"there is no scale {scale!r}", f"choose from {', '.join(get_args(Scale))}")
    content = _content(name, ())
    scales = content.pop("scales", {})
    if scales and scale not in scales:
        raise InputError(f"{name} has no scale {scale}", f"choose from {', '.join(scales)}")
    merged = _merged(content, scales.get(scale, {}))
    if tasks:
        merged["tasks"] = list(tasks)
    else:
        _require_no_code(name, merged)
    merged |= {"seeds": seeds} if seeds is not None else {}
    return _checked(name, merged)


def _require_no_code(name: str, content: Mapping[str, Any]) -> None:
    """Refuse what would run code that only the file names."""
    for key, how in (("tasks", "--tasks"), ("agents", "closerlook gradients")):
        named = [one for one in as_list(name, key, content.get(key, [])) if isinstance(one, str) and ":" in one]
        if named:
            what = f"{name} names {named[0]!r:.60}, which would run code of a module"
            raise InputError(what, f"if you know that module, allow it by {how} {named[0]:.60}")


def _content(name: str, children: tuple[str, ...]) -> dict[str, Any]:
    """Read a file, on top of the one that it is like."""
    if name in children:
        raise InputError(f"{name} is like itself ({' is like '.join([*children, name])})", "leave one `like` out")
    own = _read(name)
    require_keys(name, own, _ALL)
    for scale, content in mapping(name, "scales", own.get("scales", {})).items():
        if scale not in get_args(Scale):
            raise InputError(f"{name}: there is no scale {scale!r}", f"choose from {', '.join(get_args(Scale))}")
        require_keys(f"{name}, {scale}", mapping(name, scale, content), _AT_SCALE)
    like = own.pop("like", None)
    if like is None:
        return own
    if not isinstance(like, str):
        raise InputError(f"{name}: like must be the name of a study (got {like!r:.60})", f"it is one of {_listed()}")
    return _merged(_content(like, (*children, name)), own)


def _read(name: str) -> dict[str, Any]:
    """Read one study.

    Raises
    ------
    InputError
        Where there is none of the name, or it is not one.
    """
    known = preset_names()
    if name in known:
        return parse(name, (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    if Path(name).suffix in {".yaml", ".yml"}:
        return read(name)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"choose from {_listed()}, or give a YAML file"
    raise InputError(f"there is no study {name!r:.60}", hint)


def _listed() -> str:
    return "fig1 to fig20, table1, sample-regime, all"


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another, mappings within them likewise."""
    both = {
        key: _merged(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return {**below, **both}


def _checked(name: str, content: Mapping[str, Any]) -> Preset:
    """Turn what a file says into a preset, each value checked.

    Raises
    ------
    InputError
        Where a value is of no use, naming it.
    """
    values: dict[str, Any] = {key: text(name, key, content[key]) for key in _TEXTS if key in content}
    values |= {key: texts(name, key, content[key]) for key in _NAMES if key in content}
    values |= {key: whole(name, key, content[key], least=1) for key in ("seeds",) if key in content}
    values |= {key: mapping(name, key, content[key]) for key in _MAPPINGS if key in content}
    if "iterations" in content:
        values["iterations"] = tuple(
            whole(name, "iterations", one) for one in as_list(name, "iterations", content["iterations"])
        )
    for key, choices in (("draw", get_args(Picture)), ("audit", ("", "critic"))):
        if key in content and content[key] not in choices:
            raise InputError(
                f"{name}: {key} cannot be {content[key]!r:.60}", f"choose from {', '.join(filter(None, choices))}"
            )
        values |= {key: content[key]} if key in content else {}
    measure = mapping(name, "measure", content.get("measure", {}))
    preset = Preset(
        name=Path(name).stem if name.endswith((".yaml", ".yml")) else name,
        measure={part: _part(name, part, said) for part, said in measure.items()},
        **values,
    )
    _require_sense(name, preset)
    return preset


def _part(name: str, part: str, said: Any) -> Part:
    """Read one measurement; its options are checked as the diagnostic's own."""
    content = mapping(name, f"measure, {part}", said)
    require_keys(f"{name}, {part}", content, ("diagnostic", "options"))
    diagnostic = find_diagnostic(str(content.get("diagnostic", part)))
    options = mapping(name, f"options of {part}", content.get("options", {}))
    if "seed" in options:
        raise InputError(f"{name}, {part}: the seed is the command's", "leave it out, and give --seed")
    try:
        diagnostic.Options.of(options)
    except (InputError, TypeError) as error:
        raise InputError(
            f"{name}, options of {part}: {getattr(error, 'what', error)}", getattr(error, "hint", "mend it")
        ) from None
    return Part(diagnostic.name, options)


def _require_sense(name: str, preset: Preset) -> None:
    if preset.agents and (preset.tasks or preset.train):
        raise InputError(f"{name} names agents, and trains others", "leave out agents, or tasks and train")
    if not preset.agents and not preset.tasks:
        raise InputError(f"{name} names no agents and no tasks", "say tasks: [hopper], or agents: [runs/mine]")
    missing = [part for part in preset.parts if part not in preset.measure]
    if missing:
        raise InputError(
            f"{name} draws {missing[0]}, which it does not measure",
            f"it measures {', '.join(preset.measure) or 'nothing'}",
        )
    for key in ("tasks", "algorithms", "agents"):
        some = getattr(preset, key)
        if len(set(some)) < len(some):
            raise InputError(f"{name}: {key} names one twice", "name each once")
