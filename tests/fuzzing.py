"""A server of command lines: each runs in a process of its own that may use little and touch nothing outside.

``python fuzzing.py`` imports closerlook once, then reads requests from stdin, a JSON object a line with the arguments
and the folder, and answers each with a line: exit code, stderr. A child that imports, runs, connects to or
writes anything outside its folder ends with `TOUCHED`.
"""

import json
import os
import platform
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

MEMORY, SECONDS = 2 * 2**30, 60
TOUCHED = 99
FORBIDDEN = ("canary_module", "canary.txt")
"""A module and a file that lie beside the agent: nothing may import or open them."""
_RUNS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.bind")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Server:
    """The process that runs command lines, from the tests' side."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        command = [sys.executable, "-W", "ignore", __file__]
        self.process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment)

    def run(self, arguments: list[str], folder: Path) -> dict[str, Any]:
        """Run one command line in a folder."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"arguments": arguments, "folder": str(folder)}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def _watch(folder: Path) -> None:
    """End this process where it reaches beyond a folder."""

    def hook(event: str, arguments: tuple) -> None:
        reached = event in _RUNS  # a module that is imported is opened
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.fsdecode(arguments[0])
            writes = bool((arguments[2] or 0) & _WRITES) and path != os.devnull
            inside = os.path.realpath(path).startswith(f"{folder}/")
            reached = any(name in path for name in FORBIDDEN) or (writes and not inside)
        if reached:
            os.write(2, f"reached out: {event} {arguments!r:.300}\n".encode())
            os._exit(TOUCHED)

    sys.addaudithook(hook)


def _child(arguments: list[str], folder: Path, said: Path) -> None:
    from closerlook.cli import main  # noqa: PLC0415 - imported by the server before it forked

    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY)):
        os.dup2(os.open(os.devnull, mode), number)
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))  # of the processor: others may keep it busy
    signal.alarm(10 * SECONDS)  # it waits for something
    os.chdir(folder)
    _watch(folder)
    code = 1
    try:
        code = main(arguments)
    except BaseException:
        import traceback  # noqa: PLC0415

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    import gymnasium  # noqa: PLC0415

    from closerlook.cli import main  # noqa: PLC0415

    gymnasium.make("Hopper-v5").close()  # what it imports runs programs, once; so does the next
    platform.processor()
    for command in ("gradients", "trust-region"):
        main([command, "/nowhere"])
    for line in sys.stdin:
        asked = json.loads(line)
        folder = Path(asked["folder"]).resolve()
        said = folder / "stderr.txt"
        child = os.fork()
        if child == 0:
            _child(asked["arguments"], folder, said)
        _, status = os.waitpid(child, 0)
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "stderr": said.read_text(errors="replace"),
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
