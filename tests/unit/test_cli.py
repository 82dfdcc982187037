"""The command line: help, results, bad input, interruptions."""

import json
import subprocess
import sys

import numpy as np
import pytest

from closerlook.arguments import environment_id
from closerlook.cli import _in_one_line, demo, main
from closerlook.cli.console import MANY_VERDICTS, Terminal
from closerlook.cli.options import folder_name, whole_number
from closerlook.training import TrainSettings

SMALL = ["--n-steps", "64", "--hidden", "8", "--ppo.minibatches", "2", "--ppo.policy-epochs", "1"]
SMALL += ["--ppo.value-epochs", "1", "--workers", "1"]


def train(folder, *more):
    return main(["train", "--seeds", "2", "--steps", "256", "--checkpoints", "0", "--out", str(folder), *SMALL, *more])


def gradients(agent, folder, *more):
    options = ["--pairs", "1280", "--sizes", "32", "64", "128", "--workers", "1", "--out", str(folder)]
    return main(["gradients", str(agent), *options, *more])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert train(folder) == 0
    return folder


def test_help_reads_like_documentation(capsys):
    assert main(["--help"]) == 0
    assert "closerlook COMMAND --help" in capsys.readouterr().out
    for command in ("demo", "train", "gradients", "values"):
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        assert f"usage: closerlook {command}" in text
        assert "--json" in text
        assert "Leaves" in text


def test_help_and_wrong_options_of_diagnostics_wait_for_no_engine():
    program = """
import sys
from closerlook.cli import main
for command in ("gradients", "values", "landscape", "trust-region"):
    assert main([command, "AGENT", "--bogus"]) == 2
print({"torch", "mujoco", "matplotlib", "xarray"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_no_command_shows_the_commands_and_is_an_error(capsys):
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().out


def test_the_version_is_one_line(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("closerlook ")


def test_training_leaves_what_it_promises(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"run.json", "training.csv", "training.svg", "training.png", "checkpoints"} <= names
    record = json.loads((trained / "run.json").read_text())
    assert (record["kind"], record["finished"], record["pairs"]) == ("train", True, 512)


def test_gradients_leave_what_they_promise_and_print_a_table(trained, tmp_path, capsys):
    assert gradients(trained, tmp_path / "g") == 0
    names = {path.name for path in (tmp_path / "g").iterdir()}
    assert names == {"run.json", "jobs", *(f"gradients.{suffix}" for suffix in ("nc", "json", "svg", "png"))}
    shown = capsys.readouterr()
    assert "cosine similarity of gradient estimates of 64 pairs" in shown.out
    assert "iteration 4, seed 1" in shown.out
    assert "pairs of Hopper-v5 on 1 worker, about" in shown.err  # the cost, before the work


@pytest.mark.usefixtures("undrawn")
def test_json_is_one_object_on_stdout_and_nothing_else(trained, tmp_path, capsys):
    capsys.readouterr()
    options = ["--json", "--agent-seed", "1", "--iteration", "0"]
    assert gradients(trained, tmp_path, *options) == 0
    shown = capsys.readouterr()
    printed = json.loads(shown.out)
    assert shown.out.count("\n") == 1
    assert printed == json.loads((tmp_path / "gradients.json").read_text())
    assert printed["sizes"] == [32, 64, 128]
    assert (printed["iteration"], printed["agent_seed"], printed["environment"]) == (0, 1, "Hopper-v5")
    assert "cosine similarity" in shown.err


FIXED = [
    "environment",
    "algorithm",
    "iteration",
    "pairs",
    "streams",
    "trajectories",
    "sizes",
    "estimates",
    "pairwise_cosine",
    "pairwise_cosine_low",
    "pairwise_cosine_high",
    "true_cosine",
    "true_cosine_low",
    "true_cosine_high",
    "true_cosine_corrected",
    "true_cosine_corrected_low",
    "true_cosine_corrected_high",
    "advantages",
    "gradient_norm",
    "noise_scale_pairs",
    "noise_scale_low",
    "noise_scale_high",
    "pairs_for_pairwise_cosine_half",
    "pairs_for_true_cosine_half",
    "effective_sample_fraction",
    "verdicts",
    "pairs_used",
]


@pytest.mark.usefixtures("undrawn")
def test_the_summary_of_gradients_has_the_fixed_names(trained, tmp_path):
    assert gradients(trained, tmp_path, "--agent-seed", "1", "--iteration", "0") == 0
    told = json.loads((tmp_path / "gradients.json").read_text())
    assert set(FIXED) <= set(told)
    along_sizes = [name for name in FIXED if name.startswith(("pairwise", "true")) or name == "gradient_norm"]
    assert {len(told[name]) for name in (*along_sizes, "estimates", "pairs_used")} == {len(told["sizes"])}
    for name in ("noise_scale_pairs", "pairs_for_true_cosine_half", "effective_sample_fraction", "pairs", "streams"):
        assert told[name] is None or np.isscalar(told[name])
    assert set(told["verdicts"][0]) == {"area", "level", "statement", "evidence", "advice"}
    assert told["advantages"] in ("normalized", "raw")


@pytest.mark.usefixtures("undrawn")
def test_training_prints_json_too(trained, capsys):
    capsys.readouterr()
    assert train(trained, "--json") == 0  # all of it from disk
    printed = json.loads(capsys.readouterr().out)
    assert (printed["algorithm"], printed["agent_seeds"], printed["iterations"]) == ("ppo", [0, 1], 4)


@pytest.mark.usefixtures("undrawn")
def test_the_same_command_computes_nothing_again(trained, tmp_path):
    assert gradients(trained, tmp_path) == 0
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "jobs").iterdir()}
    before = (tmp_path / "gradients.json").read_bytes()
    assert gradients(trained, tmp_path) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "jobs").iterdir()} == stamps
    assert gradients(trained, tmp_path, "--no-resume") == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "jobs").iterdir()} != stamps
    assert (tmp_path / "gradients.json").read_bytes() == before


@pytest.mark.usefixtures("undrawn")
def test_what_is_finished_is_kept_where_what_is_asked_makes_no_sense(trained, tmp_path):
    assert gradients(trained, tmp_path / "gradients") == 0
    jobs = {path.name for path in (tmp_path / "gradients" / "jobs").iterdir()}
    assert gradients(trained, tmp_path / "gradients", "--pairs", "100", "--no-resume") == 2
    assert {path.name for path in (tmp_path / "gradients" / "jobs").iterdir()} == jobs > set()
    record = (trained / "run.json").read_bytes()
    assert train(trained, "--checkpoints", "5000", "--no-resume") == 2
    assert (trained / "run.json").read_bytes() == record


@pytest.mark.usefixtures("undrawn")
def test_without_a_folder_results_go_where_one_would_look(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--pairs", "1280", "--sizes", "64", "--workers", "1", "--iteration", "0"]
    assert main(["gradients", str(trained), *options]) == 0
    assert (tmp_path / "runs" / "gradients-run-iteration-0" / "gradients.json").exists()


BAD = {
    "no such command": (["grdients"], "choose from demo, train, gradients, values"),
    "no agent": (["gradients"], "AGENT"),
    "no such agent": (["gradients", "nowhere"], "there is no agent at nowhere"),
    "no such option": (["gradients", "x", "--bogus"], "--bogus"),
    "not whole": (["gradients", "x", "--pairs", "1.5"], "1.5 is not a whole number"),
    "not a number": (["gradients", "x", "--pairs", "many"], "many is not a whole number"),
    "no such choice": (["gradients", "x", "--advantages", "big"], "big"),
    "no such update": (["gradients", "x", "--algo", "sarsa"], "Expected one of natural, ppo, trpo, vanilla; see"),
    "no such function": (["gradients", "json:nothing"], "json has no nothing"),
    "not an agent": (["gradients", "os:getcwd"], "gives a str, not a closerlook.Agent"),
    "no such module": (["gradients", "no_such_module:agent"], "no_such_module cannot be imported"),
    "no such iteration": (["gradients", "RUN", "--iteration", "7"], "it has 0, 4"),
    "no such seed": (["gradients", "RUN", "--agent-seed", "7"], "it has 0, 1"),
    "no such environment": (["gradients", "RUN", "--env", "Hoper-v5"], "Hoper-v5"),
    "other observations": (["gradients", "RUN", "--env", "Ant-v5"], "observation"),
    "too few pairs": (["gradients", "RUN", "--pairs", "100", "--sizes", "64"], "give --pairs"),
    "no workers": (["gradients", "RUN", "--workers", "0"], "--workers 1 or more"),
    "no such task": (["train", "--env", "Hoper-v5"], "Hoper-v5"),
    "no such algorithm": (["train", "--algo", "pp0"], "pp0"),
    "too few steps": (["train", "--steps", "100"], "give more --steps"),
    "a setting that means nothing": (["train", "--ppo.clip", "-1"], "clip must be a positive number (got -1"),
    "a folder that is a file": (["train", "--steps", "64", *SMALL, "--out", "FILE"], "cannot be written"),
    "a folder of another run": (["train", "--steps", "64", *SMALL, "--out", "RUN"], "holds another run (seeds 2 there"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_with_the_mend_and_code_2(name, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    arguments, expected = BAD[name]
    places = {"RUN": str(trained), "FILE": str(tmp_path / "file")}
    capsys.readouterr()
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("closerlook: ")
    assert shown.err.count("\n") == 1
    assert expected in shown.err
    assert "; " in shown.err


def test_a_corrupt_checkpoint_is_one_line(trained, tmp_path, capsys):
    state = next((trained / "checkpoints").glob("000004/00*/state.safetensors"))
    whole = state.read_bytes()
    try:
        state.write_bytes(whole[: len(whole) // 2])
        assert gradients(trained, tmp_path) == 2
    finally:
        state.write_bytes(whole)
    assert capsys.readouterr().err.splitlines()[-1].startswith("closerlook: ")


def test_the_demo_leaves_a_page_figures_and_numbers_and_resumes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "ITERATIONS", 1)
    monkeypatch.setattr(demo, "PAIRS", 640)
    monkeypatch.setattr(demo, "TrainSettings", lambda **asked: TrainSettings(**asked | {"steps": 64, "n_steps": 64}))
    command = ["demo", "--workers", "1", "--out", str(tmp_path), "--json"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["gradients"]["iteration"] == [0, 0, 1, 1]
    assert printed["report"] == str(tmp_path / "report.html")
    for name in ("report.html", "training/training.png", "gradients/gradients.png", "gradients/gradients.nc"):
        assert (tmp_path / name).stat().st_size > 1000
    jobs = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == printed
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == jobs
    assert main([*command, "--seed", "1"]) == 2
    assert "holds another run (seed 0 there, 1 asked" in capsys.readouterr().err


FRAMED = """╭─ Value error ───────╮
│ Error parsing --x:  │
│ 1 is odd            │
│ ─────────────────── │
│ For full helptext   │
╰─────────────────────╯
"""
PLAIN = """ Value error
 -------------------
  Error parsing --x:
  1 is odd
  ------------------
  For full helptext
"""


@pytest.mark.parametrize("box", [FRAMED, PLAIN])
def test_the_frame_around_an_error_comes_off(box):
    assert _in_one_line(box) == "Error parsing --x: 1 is odd"


def test_python_m_runs_the_command_line():
    result = subprocess.run([sys.executable, "-m", "closerlook", "nope"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")


def test_whole_numbers_may_be_written_in_any_way():
    numbers = {"12": 12, "1e6": 10**6, "1_000": 1000, "2.0": 2, "1.5e3": 1500, "-3": -3}
    assert {text: whole_number(text) for text in numbers} == numbers
    for text in ("1.5", "x", "", "nan", "inf", "1e-1", "1,000"):
        with pytest.raises(ValueError, match="is not a whole number"):
            whole_number(text)


def test_names_have_short_forms():
    ids = {"hopper": "Hopper-v5", "Walker2d": "Walker2d-v5", "humanoid": "Humanoid-v5", "module:Id": "module:Id"}
    assert {name: environment_id(name) for name in ids} == ids
    assert folder_name("package.module:function") == "package.module-function"
    assert folder_name("a/b") == "a-b"
    assert folder_name("../..") == "agent"


def test_of_many_verdicts_those_that_differ_in_numbers_alone_are_printed_once_the_worst_level_first(tmp_path, capsys):
    said = [
        {"level": level, "statement": f"iteration {number}, seed 3: {what}, {1.7e6 * number:+.3g}.", "advice": "Do."}
        for what, level, count in (("fine", "ok", MANY_VERDICTS - 4), ("far", "watch", 1), ("lost", "problem", 2))
        for number in range(count)
    ]
    said.insert(4, {"level": "ok", "statement": "Another.", "advice": ""})
    terminal = Terminal(as_json=False)
    terminal.verdicts(said, tmp_path)
    assert len(capsys.readouterr().err.splitlines()) == len(said) == MANY_VERDICTS  # so many are read one by one
    terminal = Terminal(as_json=False)
    terminal.notes.width = 200
    terminal.verdicts([*said, said[0]], tmp_path / "x.json")
    assert capsys.readouterr().err.splitlines() == [
        "problem  iteration 0, seed 3: lost, +0. Do. (and 1 more)",
        "watch  iteration 0, seed 3: far, +0. Do.",
        "ok  iteration 0, seed 3: fine, +0. Do. (and 8 more)",
        "ok  Another.",
        f"  all {MANY_VERDICTS + 1} verdicts: {tmp_path / 'x.json'}",
    ]
    terminal.verdicts([*said, {"level": "odd", "statement": "Of another's diagnostic.", "advice": ""}], tmp_path)
    assert capsys.readouterr().err.startswith("odd  Of another's diagnostic.\n")
    terminal.verdicts([*said, said[0]])  # where they are nowhere else, all are printed
    assert len(capsys.readouterr().err.splitlines()) == MANY_VERDICTS + 1
