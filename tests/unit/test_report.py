"""The page about any runs: complete, offline, in order, and readable by whoever was not there."""

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import urlparse

import numpy as np
import plotly.graph_objects as go
import pytest

import closerlook as cl
from closerlook.cli import main
from closerlook.diagnostics.gradients.figure import plot_gradient_quality
from closerlook.drawing.panels import Mark, Panel, Plane, Scale, Series, draw_panels
from closerlook.errors import InputError
from closerlook.pages.demo import demo_page
from closerlook.pages.downloads import Room, downloads
from closerlook.pages.plots import plot_of
from closerlook.pages.repeat import command_of
from closerlook.pages.report import MOST_BYTES, report_page
from closerlook.pages.runs import find
from closerlook.results.reading import read_dataset, with_present_names
from run_folders import (
    HOSTILE,
    MEASURED,
    SVG,
    begun,
    checked,
    claimed,
    finished,
    measured,
    some_agents,
    stored,
    trained,
)

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Elements in their order, each with its attributes and text; tags have to be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, **dict(attributes), "text": "", "within": [one["tag"] for one in self.open]}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data
        if not {"style", "script", "title"} & {one["tag"] for one in self.open}:
            self.words.append(data)

    def all(self, tag):
        return [one for one in self.elements if one["tag"] == tag]

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study: runs of every kind within one folder, with claims; one run is not finished, one has no picture."""
    folder = tmp_path_factory.mktemp("study")
    for kind in MEASURED:
        measured(folder / "fig" / kind, kind)
    measured(folder / "fig" / "again", "gradients", {"pairs": 2048, "sizes": [128, 512], "updates": True})
    trained(folder / "hopper", picture="")
    checked(folder / "checkup", agent=HOSTILE, environment=HOSTILE)
    begun(folder / "later", "values")
    claimed(folder, {}, {"statement": HOSTILE, "mark": "does_not_hold"}, {"mark": "not_tested", "value": None})
    return folder


@pytest.fixture(scope="module")
def text(study):
    return cl.report(study).read_text()


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_what_matters_comes_first(page):
    ids = [one["id"] for one in page.all("h2")]
    assert ids == ["found", "figures", "tables", "made", "data"]
    order = ["Cause: critic scale", "Estimates are noisy", "points along the true gradient", "Not finished"]
    order += ["Bands and bars", "best iteration", "root seed 3", "netCDF"]
    places = [page.text.index(words) for words in order]
    assert places == sorted(places)


def test_every_run_and_claim_is_named(page):
    for name in (*MEASURED, "again"):
        assert f"fig/{name}" in page.text
    assert "later (values)" in page.text
    assert re.search("claims: 1 holds, 1 does not hold, 1 not tested", page.text, re.IGNORECASE)
    assert "0.25" in page.text
    assert "0.2 to 0.3" in page.text


def test_nothing_is_loaded_from_anywhere(page, text):
    loading = ("src", "href", "srcset", "data", "action", "poster", "background", "xlink:href")
    found = [one[name] for one in page.elements for name in loading if one.get(name)]
    assert len(found) > 15
    assert {urlparse(source).scheme for source in found} == {"data", ""}
    assert all(source.startswith(("data:", "#")) for source in found)
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data: blob:;")
    assert "url(" not in text.split("</style>")[0]
    assert "@import" not in text


def test_links_within_the_page_lead_somewhere(page):
    there = {one["id"] for one in page.elements if "id" in one}
    within = [one["href"][1:] for one in page.all("a") if one["href"].startswith("#")]
    assert len(within) == 6
    assert set(within) <= there


def test_hostile_names_are_text(page, text):
    assert page.text.count("<script>alert") >= 4
    assert all(one.get("src", "data:").startswith("data:") for one in page.all("img"))
    scripts = page.all("script")
    assert sum(one.get("type") != "application/json" for one in scripts) == 1
    assert all("<" not in one["text"] for one in scripts if one.get("type") == "application/json")


def test_what_plotly_would_read_as_html_is_text():
    panel = Panel(
        HOSTILE, Scale(HOSTILE, names=[HOSTILE]), Scale("y"), [Series(HOSTILE, [0], [1.0])], [Mark(0, HOSTILE)]
    )
    plane = Plane("plane", Scale(HOSTILE), Scale("y"), HOSTILE, ([0, 1], [0, 1]), [[1, 2], [3, 4]])
    for one in (panel, plane):
        plot = plot_of(one)
        assert "&lt;script&gt;" in json.dumps(plot)
        del plot["legend"]  # which is written as text
        assert "<script" not in json.dumps(plot)
        assert "<img" not in json.dumps(plot)


def test_plots_are_what_plotly_takes(page):
    plots = [json.loads(one["text"]) for one in page.all("script") if one.get("type") == "application/json"]
    assert len(plots) > 20
    for plot in plots:
        go.Figure({"data": plot["traces"], "layout": plot["layout"]})
        go.Figure({"data": plot["surface"], "layout": plot["layout"]})
        assert sorted(at for entry in plot["legend"] for at in entry["traces"]) == sorted(
            {at for entry in plot["legend"] for at in entry["traces"]}
        )
    assert sum(bool(plot["surface"]) for plot in plots) == 2


def test_plots_draw_the_numbers_of_the_dataset():
    dataset = with_present_names(some_agents("gradients")).isel(agent=[0])
    panel = cl.diagnostics.all_diagnostics()["gradients"].panels(dataset)[0]
    line = plot_of(panel)["traces"][1]
    expected = dataset["pairwise_cosine"].values[0]
    np.testing.assert_allclose(np.array(line["y"], dtype=float), expected, rtol=1e-5)
    np.testing.assert_allclose(
        [pair[0] for pair in line["customdata"]], dataset["pairwise_cosine_low"].values[0], rtol=1e-5
    )
    drawn = next(one for one in plot_gradient_quality(dataset).lines if one.get_gid() == "estimate")
    assert set(np.round(drawn.get_ydata(), 4)) <= set(np.round(expected, 4))


def test_what_is_not_known_is_left_out_of_plots():
    series = Series("a", [1, 2, 3], [1.0, np.nan, 3.0], [0.5, np.nan, np.nan], [1.5, np.nan, np.inf])
    band, line = plot_of(Panel("t", Scale("x", log=True), Scale("y"), [series]))["traces"]
    assert line["y"] == [1.0, None, 3.0]
    assert line["customdata"] == [[0.5, 1.5], [None, None], [None, None]]
    assert band["x"] == [1.0, 1.0]
    assert band["y"] == [0.5, 1.5]


def test_a_panel_says_in_words_what_it_shows():
    series = [Series("seed 0", [128, 2048], [0.1, 0.5]), Series("seed 1", [128, 2048], [np.nan, np.nan])]
    panel = Panel("Cosine", Scale("pairs", log=True), Scale("cosine"), series, [Mark(2048, "training batch")])
    assert panel.words == (
        "Cosine: cosine over pairs. seed 0: 0.1 at 128 to 0.5 at 2,048. seed 1: not known. training batch at 2,048."
    )
    named = Panel("Errors", Scale("", names=["own\ntarget", "returns"]), Scale("error"),
                  [Series("", [0, 1], [0.1, 0.2], form="points")])  # fmt: skip
    assert named.words == "Errors: error. own target: 0.1. returns: 0.2."
    assert [row[:3] for row in named.rows()] == [("", "own target", 0.1), ("", "returns", 0.2)]
    plane = Plane("Reward", Scale("step"), Scale("random"), "reward", ([0, 1], [0, 2]), [[1, 2], [np.nan, 5]])
    assert plane.words == "Reward: reward over step and random, from 1 to 5; highest at 1, 2."


def test_panels_can_be_drawn_for_print():
    panel = Panel(
        "t", Scale("x", log=True), Scale("y"), [Series("a", [1, 10], [1.0, 2.0], [0, 1], [2, 3])], [Mark(5, "m")]
    )
    axis = draw_panels([panel])
    assert axis.get_xscale() == "log"
    assert axis.lines[0].get_ydata().tolist() == [1.0, 2.0]


def test_data_are_downloaded_as_they_are(page, study):
    links = {one["download"]: one["href"] for one in page.all("a") if "download" in one}
    files = [path for suffix in ("json", "csv", "nc") for path in study.rglob(f"*.{suffix}")]
    assert len(links) == len(files)
    for path in files:
        name = "-".join([study.name, *path.relative_to(study).parts])
        assert base64.b64decode(links[name].partition("base64,")[2]) == path.read_bytes()


def test_the_page_stays_below_its_size_and_names_what_is_left_out(tmp_path):
    measured(tmp_path / "run", "gradients")
    (tmp_path / "run" / "much.csv").write_bytes(b"0" * 5_000_000)
    (tmp_path / "run" / "pool.nc").write_bytes(bytes(1_000_000))
    found = report_page(find([tmp_path / "run"]))
    assert len(found.encode()) <= MOST_BYTES
    page = Page(found)
    assert "Left out, as the page would be larger than 8 MB: much.csv (5.0 MB)." in page.text
    assert "run-gradients.nc" in [one.get("download") for one in page.all("a")]


def test_no_page_is_larger_than_it_may_be_however_little_room_there_is(tmp_path, monkeypatch):
    """Plots go first, then pictures, then data; what is foretold of their size may be too little."""
    for name in "abc":
        measured(tmp_path / name, "gradients")
    monkeypatch.setattr("closerlook.pages.report.script", lambda: "drawing();")
    monkeypatch.setattr("closerlook.pages.report.Room.take", lambda room, size: _take(room, size // 2))
    found, shown = find([tmp_path]), []
    for most in (60_000, 90_000, 120_000, 300_000, 3_000_000):
        monkeypatch.setattr("closerlook.pages.report.MOST_BYTES", most)
        text = report_page(found)
        assert len(text.encode()) <= most
        shown.append([text.count(part) for part in ('class="plot"', "<img", 'download="')])
    assert shown == sorted(shown)
    assert shown[0][0] < shown[-1][0] == 12
    assert shown[-1][1:] == [3, 6]


def _take(room, size):
    """Give room as `Room.take` does."""
    fits = size <= room.left
    room.left -= size if fits else 0
    return fits


def test_what_is_said_alone_may_be_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr("closerlook.pages.report.MOST_BYTES", 10_000)
    with pytest.raises(InputError, match="a page about 1 runs would be larger than"):
        cl.report(trained(tmp_path))


def test_small_files_find_room_first(tmp_path):
    sizes = {"a.csv": 900, "b.csv": 100, "c.csv": 400}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
    listed = downloads([("run", tmp_path / name) for name in sizes], Room(2_000))
    assert [bool(one.href) for one in listed] == [False, True, True]


def test_without_scripts_there_are_pictures(page):
    figures = [one for one in page.all("figure") if "drawn" in one["class"]]
    assert len(figures) == 6
    assert all("hidden" in one for one in page.all("div") if one.get("class") == "panels")
    pictures = page.all("img")
    assert len(pictures) == 6
    assert all(one["src"].startswith("data:image/svg+xml;base64,") and len(one["alt"]) > 60 for one in pictures)
    redrawn = max(pictures, key=lambda one: len(one["src"]))
    assert b"matplotlib" in base64.b64decode(redrawn["src"].partition("base64,")[2])
    assert not [one for one in page.elements if one["tag"] == "noscript"]


def test_it_can_be_read_aloud(page):
    """The rules that matter most of those that axe checks."""
    assert [one["tag"] for one in page.elements if one["tag"] in {"header", "nav", "main", "footer"}] == [
        "header", "nav", "main", "footer",
    ]  # fmt: skip
    levels = [int(one["tag"][1]) for one in page.elements if re.fullmatch("h[1-6]", one["tag"])]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip([0, *levels], levels, strict=False))
    assert page.all("html")[0]["lang"] == "en"
    assert all(one["scope"] in {"col", "row"} for one in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) > 10
    scrolling = [one for one in page.all("div") if {"scroll", "picture"} & set((one.get("class") or "").split())]
    assert all(one["tabindex"] == "0" and one["aria-label"] for one in scrolling)
    assert all(one["aria-label"] for one in page.elements if one.get("role") in {"img", "region"})
    ids = [one["id"] for one in page.elements if "id" in one]
    assert len(ids) == len(set(ids))
    assert page.all("a")[0]["href"] == "#main"


def test_how_it_was_made_is_told(page):
    commands = [one["text"] for one in page.all("pre")]
    assert "closerlook gradients AGENT --env Hopper-v5 --pairs 2048 --sizes 128 512 --updates --seed 3" in commands
    assert "closerlook train --env Hopper-v5 --algo ppo --seeds 2 --steps 24576 --seed 3" in commands
    assert "MuJoCo" in page.text
    assert "measured with version 1 of the schema" in page.text


def test_a_command_is_repeated_as_it_was_given(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = [
        "train",
        "--env",
        "Pendulum-v1",
        "--steps",
        "256",
        "--seeds",
        "1",
        "--workers",
        "1",
        "--out",
        "a b",
        "--json",
    ]
    given += ["--n-steps", "128"]
    assert main(given) == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "a b" / "run.json").read_text())
    assert record["command"].startswith("closerlook train --env Pendulum-v1 --steps 256")
    assert "--out 'a b'" in record["command"]
    (run,) = find([tmp_path / "a b"]).runs
    assert command_of(run) == record["command"]


def test_what_a_record_says_is_quoted(tmp_path):
    folder = measured(tmp_path / "run", "gradients", {"environment": {"id": "x; rm -rf /"}})
    (run,) = find([folder]).runs
    assert "--env 'x; rm -rf /'" in command_of(run)


def test_what_leads_out_of_a_folder_is_left_out(tmp_path):
    (tmp_path / "secret.json").write_text('{"password": "no"}')
    folder = measured(tmp_path / "run", "gradients")
    (folder / "gradients.json").symlink_to(tmp_path / "secret.json")
    page = Page(cl.report(folder).read_text())
    assert "run-gradients.json" not in [one.get("download") for one in page.all("a")]


def test_where_the_page_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = trained(tmp_path / "one"), trained(tmp_path / "other")
    assert cl.report(one) == one / "report.html"
    assert cl.report([one, other]).resolve() == tmp_path / "report.html"
    assert cl.report(str(one), "deep/page.html").read_text() == (one / "report.html").read_text()
    assert cl.report(one, "deep").name == "report.html"
    assert cl.report(one, tmp_path / "new") == tmp_path / "new" / "report.html"


def _lost(folder):
    measured(folder, "gradients")
    (folder / "gradients.nc").unlink()


def _of_another(folder):
    measured(folder, "gradients")
    (folder / "gradients.nc").write_bytes(stored("values"))


def _damaged(folder):
    measured(folder, "gradients")
    dataset = read_dataset(folder / "gradients.nc").drop_vars("noise_scale_pairs")
    (folder / "gradients.nc").unlink()
    dataset.to_netcdf(folder / "gradients.nc", engine="netcdf4")


def _newer(folder):
    measured(folder, "gradients")
    dataset = read_dataset(folder / "gradients.nc").assign_attrs(schema_version=99)
    (folder / "gradients.nc").unlink()
    dataset.to_netcdf(folder / "gradients.nc", engine="netcdf4")


def _written(name, content):
    def make(folder):
        trained(folder)
        (folder / name).write_text(content)

    return make


BAD = {
    "nothing in it": (lambda folder: folder.mkdir(), "holds no run"),
    "not there": (lambda folder: None, "there is no folder"),
    "a file": (lambda folder: folder.write_text("x"), "is a file"),
    "not finished": (lambda folder: begun(folder, "gradients"), "holds no results yet"),
    "results lost": (_lost, "there is no file"),
    "of another kind": (_of_another, "is of values, its run.json says gradients"),
    "not complete": (_damaged, "not complete (KeyError: "),
    "of a later version": (_newer, "version 99 of the schema, newer than 2"),
    "no record": (_written("run.json", "[]"), "is not a JSON object"),
    "not JSON": (_written("run.json", "{"), "cannot be read"),
    "no claims": (_written("claims.json", '{"claims": 3}'), "holds no claims"),
    "no log": (_written("training.csv", "a,b\n1,2\n"), "is not a training log"),
    "no checkup": (lambda folder: (checked(folder) / "checkup.json").write_text("{}"), "not complete (KeyError: "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_get_one_line(tmp_path, capsys, name):
    make, words = BAD[name]
    make(tmp_path / "run")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert words in said.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_run_is_given_once(tmp_path):
    folder = trained(tmp_path / "study" / "run")
    with pytest.raises(InputError, match="run is given twice; give"):
        cl.report([folder, folder])
    with pytest.raises(InputError, match=r"is given twice: .*study holds it too"):
        cl.report([tmp_path / "study", folder])
    with pytest.raises(InputError, match="no folder was given"):
        cl.report([])


def test_what_is_no_report_is_not_written_over(tmp_path):
    folder, other = trained(tmp_path / "run"), tmp_path / "notes.html"
    other.write_text("mine")
    with pytest.raises(InputError, match="is there and is no report of closerlook"):
        cl.report(folder, other)
    assert other.read_text() == "mine"
    (tmp_path / "runs" / "report.html").mkdir(parents=True)
    with pytest.raises(InputError, match="is a folder"):
        cl.report(folder, tmp_path / "runs")
    with pytest.raises(InputError, match="cannot be written"):
        cl.report(folder, other / "report.html")


def test_two_folders_of_one_name_are_told_apart(tmp_path):
    pair = [trained(tmp_path / name / "run") for name in "ab"]
    page = Page(cl.report(pair, tmp_path).read_text())
    for folder in pair:
        assert str(folder) in page.text


def test_the_command_says_where_the_page_is(tmp_path, capsys):
    folder = trained(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert main(["report", str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["report"] == str(folder / "report.html")
    assert said["bytes"] == (folder / "report.html").stat().st_size


def test_runs_of_other_packages_are_drawn_from_their_variables(tmp_path):
    from closerlook.diagnostics import plain  # noqa: PLC0415

    dataset = some_agents("gradients")[["noise_scale_pairs", "pairs_used"]]
    panels = plain.panels(dataset)
    assert [one.title for one in panels] == ["noise scale pairs", "pairs used"]
    assert plot_of(panels[0])["traces"][0]["mode"] == "markers"


@pytest.fixture
def demo(tmp_path):
    trained(tmp_path / "training")
    measured(tmp_path / "gradients", "gradients")
    return tmp_path


def test_the_demo_has_its_own_words_on_the_same_page(demo):
    page = Page(demo_page(demo))
    assert re.search("(Two|Three|Four) agents learned Hopper-v5 with PPO", page.text)
    assert "Agreement fell" in page.text
    assert "Does a training batch know which way to go?" in page.all("h1")[0]["text"]
    assert [one["id"] for one in page.all("h2")] == ["found", "figures", "tables", "on", "made", "data"]
    assert all(one["href"].startswith(("data:", "#")) for one in page.all("a"))


def test_a_rise_is_not_called_a_fall(demo):
    path = demo / "gradients" / "gradients.nc"
    dataset = read_dataset(path)
    dataset["pairwise_cosine"][:] = dataset["pairwise_cosine"].values[::-1].copy()
    path.unlink()
    dataset.to_netcdf(path, engine="netcdf4")
    assert "Agreement did not fall" in Page(demo_page(demo)).text


def test_a_study_alone_and_unknown_kinds_are_shown_with_their_pictures(tmp_path):
    folder = finished(tmp_path / "regimes", "sample-regime")
    (folder / "sample-regime.svg").write_text(SVG)
    page = Page(cl.report(folder).read_text())
    assert len(page.all("img")) == 1
    assert "Sample regimes" in page.text
    assert "Nothing here is judged" in page.text
    assert not page.all("script")


def test_records_of_python_have_no_command(tmp_path):
    assert "command" not in json.loads((finished(tmp_path, "gradients") / "run.json").read_text())


def _browse(page, width, folder):
    """Open a page in headless Chromium; return its elements afterwards, and what the console has."""
    (folder / "page.html").write_text(page)
    command = ["chromium", "--headless", "--no-sandbox", "--enable-logging=stderr", f"--window-size={width},30000"]
    command += [f"--user-data-dir={folder}/profile", "--virtual-time-budget=60000", "--dump-dom"]
    done = subprocess.run([*command, f"file://{folder}/page.html"], capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "software WebGL" not in line]
    return Page(done.stdout), said


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="takes chromium")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_draws_every_plot_without_errors(text, tmp_path, width):
    drawn, said = _browse(text, width, tmp_path)
    assert said == []
    plots = [one["class"] for one in drawn.all("div") if "plot" in (one.get("class") or "").split()]
    assert len(plots) == text.count('<div class="plot"') > 20
    assert all("js-plotly-plot" in one for one in plots)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="takes chromium")
def test_a_browser_asks_nothing_of_any_network(text, tmp_path):
    """What the page would load is refused by its own policy, and said in the console."""
    asking = text.replace("</main>", '<img src="https://example.org/x.png" alt="x"></main>')
    _, said = _browse(asking, 390, tmp_path)
    assert any("Content Security Policy" in line for line in said)
