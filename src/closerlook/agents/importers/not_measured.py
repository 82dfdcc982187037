"""Files that are known, and hold nothing closerlook measures: each is answered with one line."""

import zipfile
from pathlib import Path

from closerlook.agents.agent import Agent
from closerlook.agents.importers.request import ImportRequest
from closerlook.errors import InputError

NAME = "not measured"
_OWN_WAY = "write a function that returns closerlook.Agent.from_torch(...), and give it as package.module:function"


def _kind(path: Path) -> tuple[str, str] | None:
    """Say what a file is, and what to do; None where it is nothing that is known."""
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError:  # no file at all
        return None
    found = None
    if path.suffix.lower() == ".onnx" or b"pytorch" in start[2:16]:
        found = "an ONNX model, which answers one action and no distribution of actions", _OWN_WAY
    elif start[:1] == b"\x80" and start[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        found = "a pickle, which closerlook never runs", _OWN_WAY
    elif start[:2] == b"PK":
        found = _kind_of_archive(path)
    return found


def _kind_of_archive(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        return "a damaged archive", "use another copy of it"
    if any("/code/" in name or name.endswith("constants.pkl") for name in names):
        return "a TorchScript model, which answers one action and no distribution of actions", _OWN_WAY
    if any(name.endswith("data.pkl") for name in names):
        return "weights of PyTorch alone, without the network they belong to", _OWN_WAY
    return "an archive of something else", "give a Stable-Baselines3 model, or a run folder"


def recognizes(request: ImportRequest) -> bool:
    """Whether a path holds such a file."""
    return _kind(request.path) is not None


def load(request: ImportRequest) -> Agent:
    """Refuse it.

    Raises
    ------
    InputError
        In any case.
    """
    what, hint = _kind(request.path) or ("unknown", _OWN_WAY)
    raise InputError(f"{request.path} is {what}", hint)
