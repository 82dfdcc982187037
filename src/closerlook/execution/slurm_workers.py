"""Workers that SLURM runs, an array of them, by way of submitit.

SLURM only starts them, and begins them anew where they are preempted or their time is over. Jobs and answers go by way
of the run folder, as those of every worker do.
"""

import re
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission
from submitit.slurm.slurm import SlurmExecutor

from closerlook.errors import InputError, in_one_line
from closerlook.execution.crews import GO_ON, Request
from closerlook.execution.recruiting import SAID, Tell, serve

LOGS = "slurm"
"""Folder of what workers write, in that of the command."""
ASK_SECONDS = 30.0
"""Between two questions to SLURM how its jobs are."""
MOST_REQUEUES = 10_000
"""How often a worker whose time is over begins anew."""
USUAL_MINUTES = 24 * 60
_OURS = {"nodes", "ntasks", "ntasks-per-node", "array", "output", "error"}
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE")
_ENDED_HERE = ("FINISHED", "INTERRUPTED")
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


@dataclass(frozen=True)
class Task:
    """One task of the array: a worker, and the same again where it was preempted.

    Parameters
    ----------
    folder : str
        Where it looks for jobs.
    processes : int
        At a time.
    """

    folder: str
    processes: int

    def __call__(self) -> dict[str, Any]:
        """Work."""
        return serve(self.folder, self.processes)

    def checkpoint(self) -> DelayedSubmission:
        """Return what is to be begun anew: what was finished is stored."""
        return DelayedSubmission(self)


class Workers:
    """Brings them; see `closerlook.execution.recruiting.Engine`.

    Parameters
    ----------
    request : Request
        Whom to bring.
    tell : callable
        Hears of it.
    """

    def __init__(self, request: Request, tell: Tell) -> None:
        self._request, self._tell = request, tell
        self._logs = Path(request.folder) / LOGS
        self._jobs: list[Any] = []
        self._asked = -float("inf")
        self._ended: set[str] = set()
        self._told: dict[str, Any] = {}
        self._is_local = request.slurm.get("cluster") == "local"

    def start(self) -> None:
        """Submit the array.

        Raises
        ------
        InputError
            Where there is no SLURM, an option means nothing, or SLURM refuses.
        """
        asked = dict(self._request.slurm)
        cluster, python = asked.pop("cluster", "slurm"), asked.pop("python", None)
        options, processes = options_of(asked)
        tasks = -(-self._request.workers // processes)
        try:
            ways: dict[str, Any] = {} if python is None else {f"{cluster}_python": python}
            ways |= {f"{cluster}_max_num_timeout": MOST_REQUEUES}
            executor = submitit.AutoExecutor(self._logs, cluster=cluster, **ways)
            executor.update_parameters(name="closerlook", **options)
            with executor.batch():
                self._jobs = [executor.submit(Task(self._request.folder, processes)) for _ in range(tasks)]
        except Exception as error:  # submitit raises what it pleases
            what = f"SLURM takes no workers ({_in_short(error)})"
            raise InputError(what, "see --slurm; and give the command where jobs can be submitted") from None
        ids = sorted({job.job_id.split("_")[0] for job in self._jobs})
        which = f"processes {', '.join(ids)}" if self._is_local else f"job {ids[0]}"
        self._tell({"note": f"{tasks} workers submitted, {which}; their logs are in {self._logs}"})

    def look(self, _: set[str]) -> None:
        """Ask how the jobs are.

        Raises
        ------
        InputError
            Where all have ended.
        """
        now = time.monotonic()
        if not self._is_local and now - self._asked < ASK_SECONDS:
            return
        self._asked = now
        states = self._states()
        state: dict[str, Any] = {
            "workers": self._request.workers,
            "states": dict(Counter(states.values())),
            "logs": str(self._logs),
        }
        if state != self._told:
            self._told = state
            self._tell({"state": state})
        reasons = [self._leave(job, states[job.job_id]) for job in self._jobs if _is_over(states[job.job_id])]
        if len(reasons) == len(self._jobs):
            said = list(dict.fromkeys(filter(None, reasons)))[-2:]
            counts = ", ".join(f"{count} {name}" for name, count in Counter(states.values()).items())
            why = "; ".join(said) or f"{counts}; see {self._logs}"
            raise InputError(f"no SLURM worker is left: {why}", GO_ON)

    def _states(self) -> dict[str, str]:
        """Return how each job is, by its id."""
        if not self._is_local:
            self._jobs[0].watcher.update()  # one question for all of them
            return {job.job_id: job.watcher.get_state(job.job_id, mode="cache") for job in self._jobs}
        return {job.job_id: job.state for job in self._jobs}

    def _leave(self, job: Any, state: str) -> str:
        """Return why a worker ended, and tell of it once."""
        said = [line.removeprefix(SAID) for line in _lines(job.paths.stderr) if line.startswith(SAID)]
        reason = f"{said[-1]} (worker {job.job_id}, {state})" if said else ""
        if job.job_id not in self._ended:
            self._ended.add(job.job_id)
            self._tell({"note": f"worker {job.job_id} ended, {state}: {said[-1] if said else job.paths.stderr}"})
        return reason

    def end(self) -> None:
        """Cancel what runs or waits; logs stay."""
        if self._is_local:
            for job in self._jobs:
                job.cancel()
            for job in self._jobs:
                with suppress(Exception):
                    job._process.wait(5.0)
        else:
            for number in {job.job_id.split("_")[0] for job in self._jobs}:
                with suppress(OSError, subprocess.SubprocessError):
                    command = ["scancel", number]
                    subprocess.run(command, check=False, capture_output=True, timeout=60.0)  # noqa: S603 - SLURM's
        for pattern in ("*.pkl", "*.sh"):
            for file in self._logs.glob(pattern):
                with suppress(OSError):
                    file.unlink()


def options_of(asked: Mapping[str, str]) -> tuple[dict[str, Any], int]:
    """Return what submitit takes, and how many processes a task has.

    Parameters
    ----------
    asked : mapping of str to str
        Options of sbatch by name.

    Raises
    ------
    InputError
        Where one means nothing here.
    """
    named = {name.replace("_", "-"): value for name, value in asked.items()}
    for name in _OURS & named.keys():
        raise InputError(f"{name} is not for --slurm: each worker is one task", "give --workers, or cpus-per-task")
    minutes = minutes_of(named.pop("time", str(USUAL_MINUTES)))
    known = SlurmExecutor._valid_parameters()
    own: dict[str, Any] = {}
    more: dict[str, Any] = {"requeue": True}
    for name, value in named.items():
        if name in {"cpus-per-task", "array-parallelism", "signal-delay-s"} and not (value.isdigit() and int(value)):
            raise InputError(f"{name} must be a whole number of at least 1 (got {value})", f"give --slurm {name}=4")
        field = name.replace("-", "_")
        if field in known:
            own[f"slurm_{field}"] = int(value) if value.isdigit() else value
        else:
            more[name] = value
    processes = int(own.pop("slurm_cpus_per_task", 1))
    options = {"timeout_min": minutes, "cpus_per_task": processes, "tasks_per_node": 1, "nodes": 1}
    usual = {"slurm_array_parallelism": MOST_REQUEUES}
    return {**options, **usual, **own, "slurm_additional_parameters": more}, processes


def minutes_of(text: str) -> int:
    """Read a time as SLURM writes it: minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S.

    Raises
    ------
    InputError
        Where it is none.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise InputError(f"{text!r} is not a time of SLURM's", "give --slurm time=4:00:00")
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, (*numbers, 0)[:2]
    return max(1, 1440 * int(days or 0) + 60 * hours + minutes + (seconds > 0))


def _is_over(state: str) -> bool:
    return state.startswith(_ENDED) or state in _ENDED_HERE


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _in_short(error: Exception) -> str:
    """Return what is said by whoever was asked, which submitit puts into its own message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("sbatch: error:")]
    return said[-1] if said else in_one_line(error)
