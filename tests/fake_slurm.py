"""Commands of SLURM's that start an array's tasks on this machine: enough for submitit, and for what is asked of it.

``sbatch`` starts every task; ``srun`` runs its command there; ``sacct`` tells states; ``scancel`` ends tasks, or sends
them a signal. A task that asks to be requeued (``scontrol requeue``) is started anew once it has ended.
"""

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel", "scontrol")
NUMBER = 4711
SCRIPT = """#!{python}
import sys
sys.path.insert(0, {tests!r})
import fake_slurm
sys.exit(fake_slurm.{command}({state!r}))
"""


def install(folder: Path) -> None:
    """Put the commands into a folder, which is to be found first on PATH.

    Parameters
    ----------
    folder : Path
        Where they are.
    """
    state = folder / "state"
    state.mkdir(parents=True)
    for command in COMMANDS:
        file = folder / command
        tests = str(Path(__file__).parent)
        file.write_text(SCRIPT.format(python=sys.executable, tests=tests, command=command, state=str(state)))
        file.chmod(0o755)


def sbatch(state: str) -> int:
    """Start an array, each task with a process that looks after it."""
    script = Path(sys.argv[1])
    (Path(state) / "script").write_text(script.read_text())
    flags = dict(line[len("#SBATCH --") :].partition("=")[::2] for line in _flags(script))
    if flags.get("partition") == "nowhere":
        sys.stderr.write("sbatch: error: invalid partition specified: nowhere\n")
        return 1
    last = flags["array"].partition("%")[0].partition("-")[2] if "array" in flags else None
    for task in range(int(last) + 1) if last is not None else [None]:
        if os.fork() == 0:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            _look_after(Path(state), str(script), task)
            os._exit(0)
    sys.stdout.write(f"Submitted batch job {NUMBER}\n")
    return 0


def _flags(script: Path) -> list[str]:
    return [line for line in script.read_text().splitlines() if line.startswith("#SBATCH --")]


def _look_after(state: Path, script: str, task: int | None) -> None:
    name = str(NUMBER) if task is None else f"{NUMBER}_{task}"
    own = {"SLURM_JOB_ID": str(NUMBER + (task or 0)), "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_NODEID": "0"}
    own |= {} if task is None else {"SLURM_ARRAY_JOB_ID": str(NUMBER), "SLURM_ARRAY_TASK_ID": str(task)}
    while True:
        process = os.fork()
        if process == 0:
            os.execvpe("bash", ["bash", script], os.environ | own)
        (state / f"{name}.pid").write_text(str(process))
        (state / f"{name}.state").write_text("RUNNING")
        _, status = os.waitpid(process, 0)
        if (state / f"{name}.requeue").exists():
            (state / f"{name}.requeue").unlink()
            continue
        cancelled = (state / f"{name}.cancelled").exists()
        (state / f"{name}.state").write_text("CANCELLED by 0" if cancelled else "FAILED" if status else "COMPLETED")
        return


def srun(_: str) -> int:
    """Run a command in place of this one, its output where it is asked for."""
    rest, out, err = sys.argv[1:], "", ""
    while rest[0].startswith("--"):
        flag = rest.pop(0)
        if flag == "--output":
            out = rest.pop(0)
        elif flag == "--error":
            err = rest.pop(0)
    number = os.environ.get("SLURM_ARRAY_JOB_ID", "")
    known = {"%A": number, "%a": os.environ.get("SLURM_ARRAY_TASK_ID", ""), "%j": os.environ["SLURM_JOB_ID"], "%t": "0"}
    for stream, pattern in ((1, out), (2, err)):
        path = re.sub("%[Aajt]", lambda sign: known[sign[0]], pattern)
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), stream)
    os.execvp(rest[0], rest)


def sacct(state: str) -> int:
    """Tell states."""
    sys.stdout.write("JobID|State|NodeList\n")
    for file in sorted(Path(state).glob("*.state")):
        sys.stdout.write(f"{file.stem}|{file.read_text()}|here\n")
    return 0


def scancel(state: str) -> int:
    """End all tasks of a job."""
    for file in Path(state).glob(f"{sys.argv[1]}*.pid"):
        if (Path(state) / f"{file.stem}.state").read_text() == "RUNNING":
            (Path(state) / f"{file.stem}.cancelled").touch()
            signal_all(int(file.read_text()), 9)
    return 0


def scontrol(state: str) -> int:
    """Have a task begun anew."""
    (Path(state) / f"{sys.argv[2]}.requeue").touch()
    return 0


def children_of(process: int) -> list[int]:
    """Return the processes that one has started."""
    children = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in children.read_text().split()] if children.exists() else []


def signal_all(process: int, number: int) -> None:
    """Send a signal to a process, and to those that it has started.

    Parameters
    ----------
    process : int
        Its number.
    number : int
        Of the signal.
    """
    for child in children_of(process):
        signal_all(child, number)
    with suppress(ProcessLookupError):
        os.kill(process, number)
