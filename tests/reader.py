"""Runs blocks of a document as a reader would, with libraries that are imported once: ``python reader.py < blocks``.

Blocks are pairs of kind and text, as JSON. Every script, and every ``closerlook`` command, runs in a process of its
own, which is a copy of this one; so does a shell for whatever else.
"""

import json
import os
import runpy
import shlex
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

# what takes seconds is imported here, and nothing is computed: threads would not be there in copies
import matplotlib.pyplot  # noqa: F401

import closerlook.cli.train
import closerlook.diagnostics.runner  # noqa: F401
from closerlook.cli import main as closerlook_main


def script(text: str) -> None:
    sys.path[0] = ""
    Path("block.py").write_text(text)
    sys.argv = ["block.py"]
    runpy.run_path("block.py", run_name="__main__")


def command(line: str) -> None:
    sys.argv = shlex.split(line)
    sys.exit(closerlook_main(sys.argv[1:]))


def shell(text: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    sys.exit(subprocess.run(["sh", "-ec", text], check=False, env=os.environ | {"PATH": path}).returncode)


def processes(kind: str, text: str) -> Iterator[Callable[[], None]]:
    """Return what a block runs, one process after the other."""
    lines = text.replace("\\\n", " ").splitlines()
    if kind == "python":
        yield partial(script, text)
    elif all(line.startswith("closerlook ") and not set("|&;<>$`*#") & set(line) for line in lines):
        yield from (partial(command, line) for line in lines)
    else:
        yield partial(shell, text)


def forked(work: Callable[[], None]) -> int:
    """Run something in a copy of this process; return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> int:
    for kind, text in json.load(sys.stdin):
        for work in processes(kind, text):
            if code := forked(work):
                sys.stderr.write(f"\n{text}\n\nended with exit code {code}\n")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
