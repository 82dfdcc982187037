"""Every command and every piece of Python that the documents show runs, in the order in which a reader meets it.

The README runs with every option as it is shown but fewer samples, shorter streams and one epoch (`FEWER`). Slow tests
walk the README exactly as shown, the pages that measure its agents, both ways, and other pages that take long. What is
shown as it is runs in a shell and in scripts; fast walks import libraries once for all of it (`reader`).
"""

import fcntl
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_BY_OTHERS = {"make demo", "make test"}
"""`make test` runs this file; `tests/unit/test_cli.py` runs what `make demo` runs, of fewer pairs."""

FEWER = {
    "--steps 40960": "--steps 1408 --n-steps 128 --ppo.policy-epochs 1 --ppo.value-epochs 1",
    "--pairs 81920": "--pairs 1280",
    "--pairs 327680": "--pairs 16384",
    "--precision 0.05": "--precision 0.2",
    "pairs=40_960, estimates=10": "pairs=1_280, estimates=10",
    "--pairs 40960 --fit-pairs 40960 --restarts 4": "--pairs 1280 --fit-pairs 512 --restarts 2",
    "pairs=20_480, fit_pairs=20_480, restarts=4": "pairs=5_120, fit_pairs=2_048, restarts=2",
    "--pairs 4096 --line-pairs 8192 --grid 5": "--pairs 256 --line-pairs 256 --grid 3 --heldout-pairs 256",
    "--repeats 5 --pairs 4096 --return-pairs 4096": "--repeats 2 --pairs 256 --return-pairs 128",
    "repeats=3, pairs=4096, return_pairs=4096": "repeats=2, pairs=1024, return_pairs=512",
}
"""What is shown of the sizes of samples, and what the fast walk runs in its place."""

AGENT_FUNCTION = """
import torch
import closerlook as cl
from torch.distributions import Independent, Normal

def pendulum():
    policy = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    return cl.Agent.from_torch(policy, distribution=lambda mean: Independent(Normal(mean, 0.6), 1), gamma=0.9)
"""


def blocks(document: str) -> list[tuple[str, str]]:
    return [(kind, text.strip()) for kind, text in BLOCK.findall((ROOT / document).read_text())]


def run(kind: str, text: str, folder: Path) -> None:
    """Run one block as a reader would, in a shell or as a script."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    if kind == "python":
        (folder / "block.py").write_text(text)
        command = [sys.executable, "block.py"]
    else:
        command = ["sh", "-ec", text]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n\n{done.stdout}\n{done.stderr}"


def fewer(text: str) -> str:
    for shown, instead in FEWER.items():
        text = text.replace(shown, instead)
    return text


def run_together(shown: list[tuple[str, str]], folder: Path) -> None:
    """Run blocks as a reader would, but for the seconds that imports take: worth it from the second one on."""
    if len(shown) < 2:
        for kind, text in shown:
            run(kind, text, folder)
        return
    command = [sys.executable, str(ROOT / "tests" / "reader.py")]
    done = subprocess.run(command, cwd=folder, input=json.dumps(shown), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def walk(document: str, folder: Path, done: Collection[str] = ()) -> None:
    """Run what a document shows, but what was run there before."""
    run_together(unless_done(document, done), folder)


def unless_done(document: str, done: Collection[str]) -> list[tuple[str, str]]:
    return [(kind, text) for kind, text in blocks(document) if text not in {*RUN_BY_OTHERS, *done}]


def walk_after_training(document: str, folder: Path, done: Collection[str], sizes: Callable[[str], str]) -> None:
    """Run what a document shows of the agents of the README: exactly as shown, or fewer samples, together."""
    shown = unless_done(document, done)
    if sizes is fewer:
        run_together([(kind, fewer(text)) for kind, text in shown], folder)
        return
    for kind, text in shown:
        run(kind, text, folder)


TRAINING = next(text for _, text in blocks("README.md") if text.startswith("closerlook train "))


SIZES = [pytest.param(fewer, id="fewer"), pytest.param(str, id="as shown", marks=pytest.mark.slow)]


@pytest.fixture(scope="session", params=SIZES)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Callable[[str], str]]:
    """Train the agents of the README once for all processes that test."""
    shared, sizes = tmp_path_factory.getbasetemp(), request.param
    folder = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / f"trained-{sizes.__name__}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            run("sh", sizes(TRAINING), folder)
            (folder / "done").touch()
    return folder, sizes


def test_the_readme(trained, tmp_path):
    folder, sizes = trained
    shutil.copytree(folder / "runs", tmp_path / "runs")
    walk_after_training("README.md", tmp_path, {TRAINING}, sizes)
    assert "pairwise_cosine" in (tmp_path / "runs/hopper-gradients/gradients.json").read_text()


FOLLOW_THE_README = ["docs/gradients.md", "docs/values.md", "docs/landscape.md", "docs/trust-region.md"]


@pytest.mark.slow
@pytest.mark.parametrize("document", FOLLOW_THE_README)
def test_pages_that_follow_the_readme(trained, tmp_path, document):
    """What a page repeats of the README was run there."""
    folder, sizes = trained
    shutil.copytree(folder / "runs", tmp_path / "runs")
    walk_after_training(document, tmp_path, {text for _, text in blocks("README.md")}, sizes)


def test_fewer_samples_are_of_commands_that_are_shown():
    texts = [text for name in ("README.md", *FOLLOW_THE_README) for _, text in blocks(name)]
    assert [shown for shown in FEWER if not any(shown in text for text in texts)] == []


@pytest.mark.slow
def test_agents_of_your_own(tmp_path):
    (tmp_path / "my_agents.py").write_text(AGENT_FUNCTION)
    walk("docs/agents.md", tmp_path)


SHOW_LITTLE = ["docs/index.md", "docs/python.md", "docs/ppo.md", "docs/trpo.md", "docs/report.md"]
SHOW_LITTLE += ["docs/sample_regimes.md", "docs/studies.md", "docs/clusters.md"]
WITH_PEERS = ["docs/batch.md", "docs/checkup.md", "docs/monitor.md", "docs/stable-baselines3.md"]
LONG = {
    "docs/report.md",
    "docs/batch.md",
    "docs/clusters.md",
    "docs/studies.md",
    "docs/sample_regimes.md",
    "docs/checkup.md",
    "docs/monitor.md",
    "docs/stable-baselines3.md",
}


def walked_by(documents: list[str]) -> list[object]:
    return [pytest.param(one, marks=pytest.mark.slow) if one in LONG else one for one in documents]


@pytest.mark.parametrize("document", walked_by(SHOW_LITTLE))
def test_pages_that_show_little(document, tmp_path):
    walk(document, tmp_path)


@pytest.mark.parametrize("document", walked_by(WITH_PEERS))
def test_pages_that_show_other_libraries(document, tmp_path):
    pytest.importorskip("stable_baselines3", exc_type=ImportError)
    walk(document, tmp_path)


def test_other_documents_show_no_commands_of_their_own():
    walked = {
        "README.md",
        *FOLLOW_THE_README,
        "docs/agents.md",
        "docs/index.md",
        "docs/python.md",
        "docs/ppo.md",
    }
    walked |= {*SHOW_LITTLE, "CONTRIBUTING.md", *WITH_PEERS}
    others = {str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]} - walked
    shown = {name: blocks(name) for name in others if blocks(name)}
    assert not shown


def test_make_knows_every_target_that_is_mentioned():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    mentioned = {
        target
        for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
        for target in re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)$", path.read_text(), re.MULTILINE)
        for target in target
        if target
    }
    assert mentioned <= targets


def test_the_generated_page_is_current(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["docs/generate.py", "--check"])
    assert runpy.run_path(str(ROOT / "docs/generate.py"))["main"]() == 0, "run `make docs`"
