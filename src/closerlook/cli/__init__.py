"""The command line: parse, call, print.

Exit codes: 0 done; 2 bad input, with one line that says what is wrong and what to do; 3 the level of --fail-on was
reached; 130 interrupted.
"""

import contextlib
import io
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import tyro

from closerlook.cli.commands import commands as all_commands
from closerlook.cli.console import OutputError, Terminal, warnings_as_notes
from closerlook.cli.options import REGISTRY, Distributed
from closerlook.errors import InputError
from closerlook.execution import executing
from closerlook.results.ownership import kept, taking_over
from closerlook.results.store import commanded, versions
from closerlook.streams import forgiving_stderr

USAGE = """\
Deep policy-gradient agents under the microscope.

usage: closerlook COMMAND [options]

{commands}

`closerlook COMMAND --help` says all about one of them.

Everywhere: the same command given again goes on where it was interrupted (Ctrl-C leaves finished work on disk);
--out DIR says where results go, --workers how many processes work, --json prints one JSON object on stdout.
Exit codes: 0 done, 2 bad input, 3 the level of --fail-on was reached, 130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default those of this process.

    Returns
    -------
    int
        Exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_what_is_closed()
    with forgiving_stderr():
        return _answer(given)


def _answer(given: Sequence[str]) -> int:
    """Run one command, and say in one line what went wrong."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # figures are saved, never shown
    folder = ""
    try:
        if not given or given[0] in {"-h", "--help", "--version"}:
            return _introduce(given)
        command = _parse(given)
        folder = str(command.folder)
        with commanded(shlex.join(["closerlook", *given])):
            return _run(command)
    except InputError as error:
        if isinstance(error, OutputError):
            _let_go_of_stdout()
        return _say(f"closerlook: {' '.join(str(error).split())}", 2)
    except KeyboardInterrupt:
        kept = f": what is finished is in {folder}, and the same command goes on from there" if folder else ""
        return _say(f"interrupted{kept}", 130)
    except BrokenPipeError:  # whoever read stdout has read enough
        _let_go_of_stdout()
    return 0


def _open_what_is_closed() -> None:
    """Have what is written to a stdout or stderr that was closed go nowhere, from worker processes too."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            # a closed stdout or stderr (">&-") would be the next file that is opened
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            os.set_inheritable(number, True)  # where the free number was this one, nothing was copied
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8"))


def _introduce(given: Sequence[str]) -> int:
    if "--version" in given:
        sys.stdout.write(f"closerlook {versions()['closerlook']}\n")
        return 0
    known = all_commands()
    width = max(map(len, known)) + 2
    commands = "\n".join(f"  {name:<{width}}{entry.line}" for name, entry in known.items())
    sys.stdout.write(USAGE.format(commands=commands))
    return 0 if given else 2


def _parse(given: Sequence[str]) -> Any:
    """Read a command and its options.

    Raises
    ------
    InputError
        Where there is no such command or option, or a value cannot be read.
    """
    entry = all_commands().get(given[0])
    if entry is None:
        raise InputError(f"there is no command {given[0]!r}", f"choose from {', '.join(all_commands())}")
    command, complaint = entry.load(), io.StringIO()
    options: dict[str, Any] = {"prog": f"closerlook {given[0]}", "args": given[1:], "registry": REGISTRY}
    if hasattr(command, "defaults"):
        options["default"] = command.defaults(given[1:])
    try:
        # tyro prints boxes: what they say becomes one line
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(command, **options)
    except SystemExit as stop:
        if stop.code:
            flags = (one.split("=")[0] for one in given[1:])
            # a former option is answered with its new name
            for old in filter(getattr(command, "former", {}).__contains__, flags):
                raise InputError(f"there is no option {old}", f"it is now {command.former[old]}") from None
            raise InputError(_in_one_line(complaint.getvalue()), f"see closerlook {given[0]} --help") from None
        raise


def _in_one_line(box: str) -> str:
    """Take the first paragraph, below the title, out of what tyro draws around an error, framed or plain."""
    lines = [line.strip(" │|") for line in box.splitlines()]
    rules = [at for at, line in enumerate(lines) if line.startswith(("╭", "╰", "─", "+", "--"))] or [-1]
    below = lines[rules[0] + 1 : rules[1] if len(rules) > 1 else None]
    said = re.sub(r"(?<=Expected one of )\((.*?)\)", _choices, " ".join(below).strip().rstrip("."))
    return said or "the command cannot be read"


def _choices(listed: "re.Match[str]") -> str:
    """Put the choices that tyro lists in any order in one; that an option may be left out is none of them."""
    return ", ".join(sorted(set(re.findall("'(.*?)'", listed[1])) - {"None"}))


def _run(command: Any) -> int:
    """Run a command and return its exit code; with --json nothing but the result reaches stdout."""
    console = Terminal(as_json=command.json)
    aside = _only_for(console) if command.json else contextlib.nullcontext()
    takes = taking_over() if getattr(command, "take_over", False) else contextlib.nullcontext()
    with aside, warnings_as_notes(console), takes, kept(), _engine_of(command):
        code = command.run(console)
    return int(code or 0)


def _engine_of(command: Any) -> contextlib.AbstractContextManager[None]:
    """Have a command's jobs answered by whom it names."""
    if not isinstance(command, Distributed):
        return contextlib.nullcontext()
    return executing(command.engine, command.workers, command.folder)


@contextlib.contextmanager
def _only_for(console: Terminal) -> Iterator[None]:
    """Keep stdout for the result: what else is printed, by workers and by libraries in C too, goes to stderr."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        # file descriptor 1 itself is turned to stderr, for libraries in C and workers print to it
        if _is_the_process_own(console.stdout):
            kept = os.fdopen(os.dup(1), "w", encoding=console.stdout.encoding)
            os.dup2(2, 1)
            stack.callback(_give_back, kept)
            console.stdout = kept
        yield


def _give_back(kept: TextIO) -> None:
    """Make a copy of stdout the process' own again; where writing to it failed, that was said."""
    os.dup2(kept.fileno(), 1)
    with contextlib.suppress(OSError):
        kept.close()


def _is_the_process_own(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError):
        return False


def _let_go_of_stdout() -> None:
    """Have what is still to be written to stdout go nowhere, so that Python does not complain at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(line: str, code: int) -> int:
    sys.stderr.write(f"{line}\n")
    return code
