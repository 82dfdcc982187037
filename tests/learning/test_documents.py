"""Every command and every piece of Python that the documents show runs, in the order in which a reader meets it."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_BY_OTHERS = {"make demo", "make test"}
"""`make test` runs this file; `tests/unit/test_cli.py` runs what `make demo` runs, of fewer pairs."""

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


def walk(document: str, folder: Path, done: Collection[str] = ()) -> None:
    """Run what a document shows, but what was run there before."""
    for kind, text in blocks(document):
        if text not in {*RUN_BY_OTHERS, *done}:
            run(kind, text, folder)


TRAINING = next(text for _, text in blocks("README.md") if text.startswith("closerlook train "))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the agents of the README once for all processes that test."""
    shared = tmp_path_factory.getbasetemp()
    folder = (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "trained"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            run("sh", TRAINING, folder)
            (folder / "done").touch()
    return folder


def test_the_readme(trained, tmp_path):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    walk("README.md", tmp_path, done={TRAINING})
    assert "pairwise_cosine" in (tmp_path / "runs/hopper-gradients/gradients.json").read_text()


FOLLOW_THE_README = ["docs/gradients.md", "docs/values.md", "docs/landscape.md", "docs/trust-region.md"]


@pytest.mark.parametrize("document", FOLLOW_THE_README)
def test_pages_that_follow_the_readme(trained, tmp_path, document):
    """What a page repeats of the README was run there."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    walk(document, tmp_path, done={text for _, text in blocks("README.md")})


def test_agents_of_your_own(tmp_path):
    (tmp_path / "my_agents.py").write_text(AGENT_FUNCTION)
    walk("docs/agents.md", tmp_path)


SHOW_LITTLE = ["docs/index.md", "docs/python.md", "docs/ppo.md", "docs/trpo.md", "docs/sample_regimes.md"]
WITH_PEERS = ["docs/batch.md", "docs/monitor.md", "docs/stable-baselines3.md"]


@pytest.mark.parametrize("document", SHOW_LITTLE)
def test_pages_that_show_little(document, tmp_path):
    walk(document, tmp_path)


@pytest.mark.parametrize("document", WITH_PEERS)
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
    walked |= {"docs/trpo.md", "docs/sample_regimes.md", "CONTRIBUTING.md", *WITH_PEERS}
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


def test_the_generated_page_is_current():
    done = subprocess.run([sys.executable, str(ROOT / "docs/generate.py"), "--check"], check=False)
    assert done.returncode == 0, "run `make docs`"
