"""``closerlook report``: what any runs found, on one page that needs nothing else."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from closerlook.errors import InputError
from closerlook.pages.contents import about, drawn_of, main_figure, pictures_of, said_of, totals
from closerlook.pages.downloads import Room, downloads
from closerlook.pages.page import GENERATOR, render, script
from closerlook.pages.runs import DATA, Found, Run, find
from closerlook.results.writing import plain_errors, write_bytes

MOST_BYTES = 8_000_000
"""No page is larger."""
_HEAD = 2048
"""Bytes within which a page says what wrote it."""
MARKS = {"holds": "ok", "does_not_hold": "problem", "not_enough_data": "not_enough_data", "not_tested": "unknown"}
LEVELS = {"problem": "problem", "watch": "to watch", "ok": "ok", "not_enough_data": "without enough data"}


def report(folders: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write one offline HTML page about any runs: what was found, figures, tables, how it was made, and the data.

    Folders within those that are given count too, so that a study is one argument. Causes of checkups, claims and
    verdicts come first. The page needs no network and stays below 8 MB: data that it has no room for are named.

    Parameters
    ----------
    folders : str, Path or sequence of them
        Run folders, or folders that hold some.
    out : str or Path, optional
        The page, or a folder for ``report.html``; default the folder where one was given, else this one.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        Where a folder holds no run, or none with results, is given twice, or is of a later version of the schema; where
        ``out`` is there and is no report; where it cannot be written.

    See Also
    --------
    closerlook.run : leaves a run folder with ``out``.
    closerlook.summary : the numbers themselves.

    Examples
    --------
    >>> import tempfile
    >>> import closerlook as cl
    >>> agent = cl.load("atlas/hopper-ppo", iteration=0, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     small = {"pairs": 4096, "estimates": 2, "sizes": (128, 2048), "workers": 1}
    ...     dataset = cl.gradient_quality(agent, **small, out=f"{folder}/gradients")
    ...     cl.report(f"{folder}/gradients").name
    'report.html'
    """
    given = [folders] if isinstance(folders, str | Path) else [*folders]
    target = _target(given, out)
    page = report_page(find(given))
    return write_bytes(target, page.encode())


def _target(folders: Sequence[str | Path], out: str | Path | None) -> Path:
    """Return the page's place.

    Raises
    ------
    InputError
        Where something else is there.
    """
    place = Path(out) if out is not None else Path(folders[0]) if len(folders) == 1 else Path()
    if out is None or place.is_dir() or place.suffix not in {".html", ".htm"}:
        place = place / "report.html"
    with plain_errors(place):
        if place.is_dir():
            raise InputError(f"{place} is a folder", "give another --out")
        if place.exists():
            with place.open("rb") as file:
                if GENERATOR.encode() not in file.read(_HEAD):
                    raise InputError(f"{place} is there and is no report of closerlook", "give another --out")
    return place


def report_page(found: Found, template: str = "report.html.j2", more: Mapping[str, Any] | None = None) -> str:
    """Write the page as HTML.

    Parameters
    ----------
    found : Found
        All that it is about.
    template : str
        The report's, or one that extends it.
    more : mapping, optional
        What that one uses beside.

    Raises
    ------
    InputError
        Where results are not complete, or what is said of the runs alone is too much for a page.
    """
    said = [{**said_of(run), "id": f"run-{number}"} for number, run in enumerate(found.runs, start=1)]
    content: dict[str, Any] = {
        **_opening(found),
        "runs": said,
        "claims": [_claim(claim) for claim in found.claims],
        "counts": _counts(found, said),
        "totals": totals(found.runs),
        **(more or {}),
    }
    plots = [drawn_of(run) if one["finished"] else [] for run, one in zip(found.runs, said, strict=True)]
    shown = [_Shown(run, one, own) for run, one, own in zip(found.runs, said, plots, strict=True)]
    content["script"] = script() if any(plots) else ""
    room = MOST_BYTES - len(render(template, {**content, "runs": _filled(shown, Room(0))}).encode())
    while room >= 0:
        page = render(template, {**content, "runs": _filled(shown, Room(room))})
        too_much = len(page.encode()) - MOST_BYTES
        if too_much <= 0:
            return page
        room -= too_much  # what a part takes in the page is foretold, not known
    what = f"a page about {len(found.runs)} runs would be larger than {MOST_BYTES / 1e6:.0f} MB"
    raise InputError(what, "give fewer folders")


class _Shown:
    """A run with all that could be on the page.

    Parameters
    ----------
    run : Run
        Read from its folder.
    said : mapping
        What the page says of it in any case.
    plots : sequence of mapping
        Its figure.
    """

    def __init__(self, run: Run, said: Mapping[str, Any], plots: Sequence[Mapping[str, Any]]) -> None:
        self.said, self.plots, self.main = said, plots, main_figure(run)
        self.pictures = pictures_of(run, plots)
        self.files = [(run.name, path) for path in run.files(DATA)]
        self.weight = sum(len(render(part, {"plots": plots}).encode()) for part in ("plots.html.j2", "numbers.html.j2"))


def _filled(shown: Sequence[_Shown], room: Room) -> list[dict[str, Any]]:
    """Return what the page has of each run: first all plots, then all pictures, then data, as long as there is room."""
    plots = [one.plots if room.take(one.weight) else [] for one in shown]
    pictures = [[own for own in one.pictures if room.take(len(own.image) + 2 * len(own.words) + 300)] for one in shown]
    data = downloads([file for one in shown for file in one.files], room)
    return [
        {
            **one.said,
            "plots": drawn,
            "undrawn": len(one.plots) - len(drawn),
            "main": one.main,
            "pictures": printed,
            "downloads": [file for file in data if file.run == one.said["name"]],
        }
        for one, drawn, printed in zip(shown, plots, pictures, strict=True)
    ]


def _opening(found: Found) -> dict[str, Any]:
    """Head the page with what it is about."""
    subjects = [*dict.fromkeys(filter(None, map(about, found.runs)))]
    names = [*dict.fromkeys(run.what for run in found.runs)]
    subject = "; ".join(subjects[:3]) + (f" and {len(subjects) - 3} more" if len(subjects) > 3 else "")
    return {"title": f"{subject or found.runs[0].name}: {', '.join(names)}", "subject": subject, "names": names}


def _mark(claim: Mapping[str, Any]) -> str:
    """Return a claim's mark, one of those that there are."""
    mark = claim.get("mark")
    return mark if isinstance(mark, str) and mark in MARKS else "not_tested"


def _claim(claim: Mapping[str, Any]) -> dict[str, Any]:
    mark = _mark(claim)
    ends = [claim.get(name) for name in ("value", "low", "high")]
    value, low, high = (f"{end:.3g}" if isinstance(end, int | float) else "" for end in ends)
    texts = ("id", "statement", "source", "task", "algorithm", "rule", "written", "measured")
    return {
        **{name: _text(claim.get(name)) for name in texts},
        "mark": mark.replace("_", " "),
        "level": MARKS[mark],
        "value": value,
        "interval": f"{low} to {high}" if low and high else "",
    }


def _text(value: Any) -> str:
    return "" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _counts(found: Found, said: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in numbers what came out."""
    causes = [one["checkup"]["headline"] for one in said if one["checkup"] is not None]
    claims = Counter(map(_mark, found.claims))
    levels = Counter(verdict["level"] for one in said for verdict in one["verdicts"])
    words = [f"checkup: {cause}" for cause in causes]
    marks = [f"{claims[mark]} {_agreeing(mark, claims[mark])}" for mark in sorted(claims, key=[*MARKS].index)]
    words += ["claims: " + ", ".join(marks)] if claims else []
    listed = [f"{levels[level]} {word}" for level, word in LEVELS.items() if levels[level]]
    return words + (["verdicts: " + ", ".join(listed)] if listed else [])


def _agreeing(mark: str, count: int) -> str:
    """Write what so many claims do."""
    several = {"holds": "hold", "does_not_hold": "do not hold"} if count != 1 else {}
    return several.get(mark, mark.replace("_", " "))
