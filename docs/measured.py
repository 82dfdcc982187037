"""What the pages of the measured atlas share: their columns, how numbers are written, claims with their marks."""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from PIL import Image
from scipy import stats

from closerlook.drawing.style import save_figure
from closerlook.results.netcdf import INTERNAL
from closerlook.results.reading import read_dataset
from closerlook.results.writing import write_atomically
from closerlook.studies.claims import Claim, load_claims
from closerlook.studies.judging import Judgement

DOCS = Path(__file__).parent
DATA, IMAGES = DOCS / "data", DOCS / "images"
TASKS = {"hopper": "Hopper-v5", "walker2d": "Walker2d-v5", "humanoid": "Humanoid-v5"}
COMPRESSED_ABOVE = 8000
"""Bytes of a variable above which compression takes off more than it adds."""
SMALLER = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
COLUMNS = [(task, algorithm) for task in TASKS for algorithm in ("ppo", "trpo")]


def take_in_given(doc: str | None, kind: str) -> None:
    """Read the command line of a page's script: with ``--from DIR`` the datasets of its diagnostic are taken in."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path)
    chosen = parser.parse_args()
    if chosen.source is not None:
        take_in(chosen.source, kind)


def take_in(folder: Path, kind: str) -> None:
    """Copy datasets of a diagnostic, one folder each, into docs/data."""
    for source in sorted(folder.glob(f"*/{kind}.nc")):
        keep(read_dataset(source), DATA / f"{kind}-{source.parent.name}.nc")


def keep(dataset: xr.Dataset, path: Path) -> None:
    """Write a dataset, its large variables compressed, or leave what is there where writing it ends before its time.

    What is as long as an agent's parameters is left out: it takes more room than all else, and no page shows it.
    """
    with TemporaryDirectory() as folder:
        plain = Path(folder) / path.name
        dataset.drop_dims("parameter", errors="ignore").to_netcdf(plain, engine="netcdf4")
        write_atomically(path, lambda half: pack(plain, half))


def pack(plain: Path, packed: Path) -> None:
    """Write a netCDF file anew in HDF5's format since 1.10, in which a hundred variables take a seventh less room."""
    with h5py.File(plain) as source, h5py.File(packed, "w", libver="v110", track_order=True) as target:
        _copy_attributes(source, target)
        for name, data in source.items():
            large = data.nbytes > COMPRESSED_ABOVE and data.dtype.kind in "if"
            kept = {**SMALLER, "chunks": data.shape} if large else {}
            _copy_attributes(data, target.create_dataset(name, data=data[()], dtype=data.dtype, **kept))
            if data.is_scale:
                target[name].make_scale(data.attrs["NAME"])
        for name, data in source.items():
            for place, scales in enumerate(data.attrs.get("DIMENSION_LIST", ())):
                target[name].dims[place].attach_scale(target[h5py.h5r.get_name(scales[0], source.id)])


def _copy_attributes(source: h5py.File | h5py.Dataset, target: h5py.File | h5py.Dataset) -> None:
    """Copy what netCDF does not keep its dimensions by."""
    for name, value in source.attrs.items():
        if name not in INTERNAL:
            target.attrs[name] = value


OUTDATED = {
    2: (
        "cosine_between_true_gradients",
        "cosine_to_true_gradient_corrected",
        "lambda_squared_bias",
        "lambda_variance",
        "lambda_cosine",
        "lambda_gain",
    ),
}
"""Variables that datasets of an earlier schema than this hold by estimators that were wrong."""


def current(dataset: xr.Dataset) -> xr.Dataset:
    """Blank what was measured by an estimator that was mended since.

    Cosines to the surrogate's gradient are blank where its signal may be nil, which the noise scale's interval says.
    """
    own = int(dataset.attrs.get("measured_with_schema", dataset.attrs["schema_version"]))
    names = [name for version, old in OUTDATED.items() if own < version for name in old if name in dataset]
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    blank = {name: xr.full_like(dataset[name], np.nan) for name in ends}
    if own < 2 and "noise_scale_pairs_high" in dataset:
        known = np.isfinite(dataset["noise_scale_pairs_high"])
        cosines = [name for name in ("true_cosine_corrected", "update_true_cosine_corrected") if name in dataset]
        blank |= {
            f"{name}{end}": dataset[f"{name}{end}"].where(known) for name in cosines for end in ("", "_low", "_high")
        }
    return dataset.assign(blank)


def load(path: Path) -> xr.Dataset:
    """Read a dataset that is kept, as far as it still holds."""
    return current(read_dataset(path))


def found(kind: str, folder: Path = DATA) -> dict[tuple[str, str], xr.Dataset]:
    """Load the datasets of the columns that were measured."""
    paths = {(task, algorithm): folder / f"{kind}-{task}-{algorithm}.nc" for task, algorithm in COLUMNS}
    return {column: load(path) for column, path in paths.items() if path.exists()}


def heading(column: tuple[str, str]) -> str:
    """Write ``("hopper", "ppo")`` as ``Hopper-v5, PPO``."""
    return f"{TASKS[column[0]]}, {column[1].upper()}"


def at(dataset: xr.Dataset, iteration: int, name: str, **where: object) -> np.ndarray:
    """Return a variable of the agents at one iteration."""
    data = dataset[name].sel(where) if where else dataset[name]
    return np.asarray(data.values[dataset["iteration"].values == iteration], dtype=np.float64)


def median(values: np.ndarray, digits: int = 2) -> str:
    """Write the median over seeds and the range between the quartiles; how many have a number, where some have none."""
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return "-"
    places = np.array([0.25, 0.5, 0.75]) * (len(known) - 1)
    low, middle, high = np.interp(places, np.arange(len(known)), known)  # np.quantile knows no infinity
    seeds = "" if len(known) == len(values) else f", {len(known)} of {len(values)}"
    return f"{number(middle, digits)} ({number(low, digits)} to {number(high, digits)}){seeds}"


def endless(scales: np.ndarray) -> np.ndarray:
    """Return noise scales, those that are not known as infinite: noise hides all of their signal."""
    return np.where(np.isnan(scales), np.inf, scales)


def number(value: float, digits: int) -> str:
    """Write a number; large ones to three figures, in thousands."""
    if np.isinf(value):
        return "no end"
    if digits:
        return f"{value:.{digits}f}"
    if value >= 999_500:
        return f"{value / 1e6:.3g}M"
    return f"{value / 1000:.3g}k" if value >= 10_000 else f"{value:,.0f}"


def save_picture(axis: Axes, path: Path, dpi: int) -> None:
    """Save the figure that holds some axes as a PNG of at most 256 colors, a third as large as one of all colors."""
    (file,) = save_figure(axis, path, ("png",), dpi=dpi)
    with Image.open(file) as picture:
        small = picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(file, optimize=True)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay out a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def iterations(dataset: xr.Dataset) -> list[int]:
    """List the iterations that were measured."""
    return sorted(set(dataset["iteration"].values.tolist()))


def with_interval(here: xr.Dataset, name: str, digits: int = 3) -> str:
    """Write a number with its interval."""
    value, low, high = (float(here[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return "-" if np.isnan(value) else f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def claims_on(names: Iterable[str]) -> list[Claim]:
    """Return our own claims on variables of one diagnostic alone; the paper's are on the page of the replication."""
    known = set(names)
    own = [claim for claim in load_claims() if claim.source.startswith("ours")]
    return [claim for claim in own if claim.variable in known and claim.statistic != "relation"]


def gained(before: np.ndarray, after: np.ndarray, digits: int = 0) -> str:
    """Write the difference of two means and its 95% interval, Welch's t; none where all values of each are equal."""
    interval = ""
    if np.ptp(before) != 0 or np.ptp(after) != 0:
        low, high = stats.ttest_ind(after, before, equal_var=False).confidence_interval()
        interval = f" ({low:+,.{digits}f} to {high:+,.{digits}f})"
    return f"{after.mean() - before.mean():+,.{digits}f}{interval}"


MARKS = {"holds": "**yes**", "does not hold": "**no**", "not enough data": "open"}


def claims_text(judged: Iterable[tuple[Claim, list[Judgement]]]) -> str:
    """Lay out claims, a row each, with what was found where."""
    rows = []
    for claim, judgements in judged:
        places = [", ".join(one.where.split(", ")[:2]) for one in judgements]
        told = [f"{MARKS[one.mark]}, {statistic(one, claim)}" for one in judgements]
        found = [": ".join(both) for both in zip(places, told, strict=True)]
        rows.append([claim.statement, rule(claim).replace("|", "&#124;"), "<br>".join(found) or "not measured"])
    return table(["statement", "rule", "verdict, number, 95% interval"], rows) if rows else "Not measured.\n"


LOGARITHMS = "of a logarithm, written as the ratio it stands for"


def rule(claim: Claim) -> str:
    """Write the rule: what is computed, and on which side of what it has to lie."""
    what = re.sub(r": \w+ (below|above) .*$", "", claim.rule_in_words)
    how = {"level": "mean", "change": "change", "contrast": "difference", "fraction": "fraction", "study": "mean"}
    ratio = f" ({LOGARITHMS})" if claim.log else ""
    return f"{what}; {how.get(claim.statistic, claim.statistic)}{ratio} {claim.rule} {claimed(claim.bound, claim)}."


def claimed(value: float | None, claim: Claim) -> str:
    """Write a number of a claim; of a logarithm the ratio it stands for."""
    if value is None or np.isnan(value):
        return "-"
    three = float(f"{np.exp(value) if claim.log else value:.3g}")
    return f"{three:,.0f}" if abs(three) >= 1000 else f"{three:.3g}"


def statistic(one: Judgement, claim: Claim) -> str:
    """Write a judgement's number and its interval, where it has them."""
    interval = "" if np.isnan(one.low) else f" ({claimed(one.low, claim)} to {claimed(one.high, claim)})"
    return claimed(one.value, claim) + interval


def replaced(text: str, name: str, content: str) -> str:
    """Put content between its marks in the page."""
    start, stop = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, rest = text.split(start)
    return head + start + "\n" + content + "\n" + stop + rest.split(stop, 1)[1]
