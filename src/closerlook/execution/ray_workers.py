"""Workers that a Ray cluster runs: one actor each, of one CPU, spread over the nodes.

Ray only starts them, and says where they are and which died. Jobs, agents and answers go by way of the run folder, as
those of every worker do: nothing of them is in Ray's object store, and nothing is run again that was answered.
"""

import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from closerlook.errors import InputError, in_one_line
from closerlook.execution.crews import GO_ON, Request
from closerlook.execution.recruiting import Tell, serve

MOST_DEATHS = 3
"""Workers that die on a node, one after the other and without an answer between, until it is left out."""
CONNECT_SECONDS = 10.0
NOBODY_SECONDS = 300.0
"""For which workers are waited for where there is none, as of a cluster that grows."""
STORE_BYTES = 80 * 2**20
"""Of Ray's object store, in which nothing is put."""
_LONGEST_SOCKET = 107
_SOCKET = "/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # it would send the working directory along
    "RAY_worker_niceness": "0",  # else other programs of the machine come first
}


class _Place:
    """What runs on a node."""

    def where(self) -> tuple[str, str]:
        """Return the node and the name of its machine."""
        return ray.get_runtime_context().get_node_id(), socket.gethostname()

    def serve(self, folder: str, name: str) -> dict[str, Any]:
        """Be a worker there, of one process."""
        return serve(folder, 1, name)


@dataclass
class _Worker:
    """One worker, from its actor's start to its end."""

    name: str
    actor: Any
    where: Any
    ended: Any
    node: str = ""
    host: str = ""


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
        self._own: Path | None = None
        self._workers: list[_Worker] = []
        self._deaths: Counter[str] = Counter()
        self._left_out: dict[str, str] = {}
        self._reasons: list[str] = []
        self._alone = 0.0
        self._told: dict[str, Any] = {}
        self._answered: set[str] = set()

    def start(self) -> None:
        """Connect, and ask for all workers.

        Raises
        ------
        InputError
            Where the cluster cannot be reached, or does not start.
        """
        os.environ.update(_QUIET)
        usual: dict[str, Any] = {
            "configure_logging": False,
            "logging_level": logging.ERROR,
            "log_to_driver": False,
            "namespace": f"closerlook-{secrets.token_hex(8)}",
        }
        address = self._request.address
        if address is None:
            self._start_own(usual)
        else:
            _require_somebody(address)
            try:
                ray.init(address=address, **usual)
            except (Exception, SystemExit) as error:
                what = f"no Ray cluster can be reached at {address} ({in_one_line(error)})"
                raise InputError(what, "give the --address of one that runs, or none for one of your own") from None
        self._fill()

    def _start_own(self, usual: Mapping[str, Any]) -> None:
        """Start a cluster of this command's own, which shares nothing with others and ends with it."""
        os.environ.pop("RAY_ADDRESS", None)
        place = tempfile.gettempdir()
        # names of sockets are short; a folder for temporary files may be anywhere
        base = place if len(f"{place}/closerlook-ray-xxxxxxxx{_SOCKET}") <= _LONGEST_SOCKET else "/tmp"  # noqa: S108
        self._own = Path(tempfile.mkdtemp(prefix="closerlook-ray-", dir=base))
        try:
            ray.init(
                address="local",
                num_cpus=self._request.workers,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                _temp_dir=str(self._own),
                **usual,
            )
        except (Exception, SystemExit) as error:
            raise InputError(f"a Ray cluster of its own does not start ({in_one_line(error)})", GO_ON) from None

    def look(self, credited: set[str]) -> None:
        """Take in who came and who ended; bring others in place of those that died.

        Raises
        ------
        InputError
            Where there is nobody, and nobody is to come.
        """
        self._forgive(set(credited) - self._answered)
        for worker in self._workers:
            if not worker.node and ray.wait([worker.where], timeout=0)[0]:
                with suppress(RayError):  # it died as it started: its end says so
                    worker.node, worker.host = ray.get(worker.where)
        if not self._workers:
            self._require_anybody()
            return
        done = set(ray.wait([one.ended for one in self._workers], num_returns=len(self._workers), timeout=0)[0])
        for worker in [one for one in self._workers if one.ended in done]:
            self._workers.remove(worker)
            self._take_leave(worker)
        self._fill()
        self._say_state()
        self._require_anybody()

    def _forgive(self, answered: set[str]) -> None:
        self._answered |= answered
        if answered:
            self._deaths.pop("", None)
        for worker in self._workers:
            if worker.name in answered:
                self._deaths.pop(worker.node, None)

    def _take_leave(self, worker: _Worker) -> None:
        """Find out why a worker ended."""
        self._tell({"gone": worker.name})
        try:
            end = ray.get(worker.ended)
        except RayError as error:
            self._deaths[worker.node] += 1
            place = worker.host or "a node where it could not be started"
            why = "its process died" if worker.node and _has_died(error) else _said(error)
            reason, is_out = f"a worker on {place} ended: {why}", self._deaths[worker.node] >= MOST_DEATHS
        else:
            reason, is_out = f"the worker on {end['host']} ended: {end['refused']}", bool(end["refused"])
            if not is_out:  # it only waited for too long
                return
        self._reasons.append(reason)
        self._tell({"note": reason})
        if is_out and worker.node not in self._left_out:
            self._left_out[worker.node] = reason
            if worker.node:
                self._tell({"note": f"{worker.host} is left out from now on"})

    def _fill(self) -> None:
        """Ask for as many workers as are missing, on nodes that work."""
        if self._is_hopeless():
            return
        out = [node for node in self._left_out if node]
        options: dict[str, Any] = {"label_selector": {"ray.io/node-id": f"!in({','.join(out)})"}} if out else {}
        kind = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD")(_Place)
        for _ in range(self._request.workers - len(self._workers)):
            name, actor = secrets.token_hex(8), kind.options(**options).remote()
            self._workers.append(
                _Worker(name, actor, actor.where.remote(), actor.serve.remote(self._request.folder, name))
            )

    def _is_hopeless(self) -> bool:
        """Whether no node is left that a worker could be on: all are left out, or none could even start one."""
        nodes = {one["NodeID"] for one in ray.nodes() if one["Alive"] and one["Resources"].get("CPU")}
        return "" in self._left_out or (bool(nodes) and nodes <= self._left_out.keys())

    def _require_anybody(self) -> None:
        at_work = sum(bool(one.node) for one in self._workers)
        self._alone = 0.0 if at_work else self._alone + 1.0
        if not at_work and (self._is_hopeless() or self._alone > NOBODY_SECONDS):
            reasons = list(dict.fromkeys(self._reasons))[-2:] or ["no node of the cluster has a free CPU"]
            raise InputError(f"no Ray worker is left: {'; '.join(reasons)}", GO_ON)

    def _say_state(self) -> None:
        states = {"at work": sum(bool(one.node) for one in self._workers)}
        states["waiting for a CPU"] = len(self._workers) - states["at work"]
        state = {"workers": self._request.workers, "states": {name: count for name, count in states.items() if count}}
        if self._left_out:
            state["left out"] = list(self._left_out.values())
        if state != self._told:
            self._told = state
            self._tell({"state": state})

    def end(self) -> None:
        """End all actors, and the cluster where it is this command's own."""
        with suppress(Exception):  # whatever state it is in, it is left
            for worker in self._workers:
                ray.kill(worker.actor)
        with suppress(Exception):
            ray.shutdown()
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)


def _has_died(error: RayError) -> bool:
    return type(error).__name__ in {"ActorDiedError", "WorkerCrashedError", "NodeDiedError", "ActorUnavailableError"}


def _said(error: RayError) -> str:
    """Return what an error of Ray's says, of its many lines that which names the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception"))]
    return (causes or lines or [type(error).__name__])[-1][:300]


def _require_somebody(address: str) -> None:
    """Go on only where something answers at an address; Ray itself would try for a minute.

    Raises
    ------
    InputError
        Where nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    if not host or not port.isdigit():
        raise InputError(f"{address!r} is not the address of a Ray cluster", "give auto, host:port or ray://host:port")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        what = f"no Ray cluster can be reached at {address} ({in_one_line(error)})"
        raise InputError(what, "give the --address of one that runs, or none for one of your own") from None
