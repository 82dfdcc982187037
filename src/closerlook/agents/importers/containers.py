"""Files from elsewhere, read member by member within limits: an archive, or a folder that one was unpacked to.

Nothing is ever written or unpacked to disk, and what is longer than a member may be is not read, whatever its header
says.
"""

import io
import json
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from torch import Tensor

from closerlook.errors import InputError

LONGEST_TEXT = 32_000_000
LONGEST_WEIGHTS = 400_000_000
MOST_MEMBERS = 10_000
HINT = "use another copy of the file, or give the model itself: closerlook.from_sb3(model)"
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


class Container(Protocol):
    """Named members."""

    where: str
    """What errors name."""
    names: frozenset[str]

    def read(self, name: str, longest: int) -> bytes:
        """Read a member.

        Parameters
        ----------
        name : str
            Of the member.
        longest : int
            Bytes at most.

        Raises
        ------
        InputError
            Where it is damaged, too long, or no file of its own.
        """


class Archive:
    """A zip archive: a file, or its content where there is none.

    Parameters
    ----------
    path : Path
        Where the file is, for messages where its content is given.
    content : bytes or None
        The archive itself; None: read from the path.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        self.where = str(path)
        try:
            self._content = read_file(path, 2 * LONGEST_WEIGHTS) if content is None else content
            with zipfile.ZipFile(io.BytesIO(self._content)) as archive:
                members = archive.infolist()
        except _DAMAGED as error:
            raise InputError(f"{path} is not a readable archive ({str(error)[:60] or 'damaged'})", HINT) from None
        self.names = frozenset(member.filename for member in members)
        if len(members) > MOST_MEMBERS or len(self.names) < len(members):
            raise InputError(f"{path} holds members twice, or too many of them", HINT)

    def read(self, name: str, longest: int) -> bytes:
        """Read a member, see `Container`.

        Parameters
        ----------
        name : str
            Of the member.
        longest : int
            Bytes at most.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(self._content)) as archive, archive.open(name) as member:
                content = member.read(longest + 1)
        except (*_DAMAGED, KeyError, MemoryError):
            raise InputError(f"{self.where}: {name[:80]} is damaged or missing", HINT) from None
        if len(content) > longest:
            raise InputError(f"{self.where}: {name[:80]} is longer than it may be ({longest} bytes)", HINT)
        return content


class Folder:
    """The files right in a folder."""

    def __init__(self, path: Path) -> None:
        self.where, self._path = str(path), path
        try:
            self.names = frozenset(entry.name for _, entry in zip(range(MOST_MEMBERS), path.iterdir(), strict=False))
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror})", "check the path") from None

    def read(self, name: str, longest: int) -> bytes:
        """Read a file, see `Container`.

        Parameters
        ----------
        name : str
            Of the file in the folder.
        longest : int
            Bytes at most.
        """
        return read_file(self._path / name, longest)


def read_file(path: Path, longest: int) -> bytes:
    """Read a regular file.

    Parameters
    ----------
    path : Path
        The file.
    longest : int
        Bytes at most.

    Raises
    ------
    InputError
        Where it cannot be read, is too long, or is a device or the like.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a regular file", "give the file itself")
        if status.st_size > longest:
            raise InputError(f"{path} is longer than it may be ({longest} bytes)", HINT)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({str(error)[:80]})", "check the path and its permissions") from None


def read_json(content: bytes, where: str) -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    content : bytes
        UTF-8 text.
    where : str
        What it is of, for messages.

    Raises
    ------
    InputError
        Where it is none.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{where} is not a readable JSON object", HINT)
    return found


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML in which Python's own tags are as good as none."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave merge keys alone: nested, they would multiply without end."""


def _untagged(loader: _PlainLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    return loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else node.value


for _tag in ("tag:yaml.org,2002:python/", "!"):
    _PlainLoader.add_multi_constructor(_tag, _untagged)


def read_yaml(content: bytes, where: str) -> dict[str, Any]:
    """Read a YAML mapping as data, an ordered one of Python's too: a list that holds a list of pairs.

    Parameters
    ----------
    content : bytes
        UTF-8 text.
    where : str
        What it is of, for messages.

    Raises
    ------
    InputError
        Where it is none.
    """
    try:
        found = yaml.load(content, _PlainLoader)  # noqa: S506 - a safe one
        if isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
            found = {key: value for key, value in found[0] if isinstance(key, str)}
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError, OverflowError):
        raise InputError(f"{where} is not readable YAML", HINT) from None
    if found is not None and not isinstance(found, dict):
        raise InputError(f"{where} is not a YAML mapping", HINT)
    return {key: value for key, value in (found or {}).items() if isinstance(key, str)}


@dataclass(frozen=True)
class _Weights:
    """Checks of what torch reads of a file of weights."""

    where: str

    def wrong(self, why: str) -> InputError:
        return InputError(f"{self.where} {why}", HINT)

    def read(self, content: bytes) -> Any:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as inner:
                stored = all(member.compress_type == zipfile.ZIP_STORED for member in inner.infolist())
                total = sum(member.file_size for member in inner.infolist())
        except _DAMAGED:
            raise self.wrong("is damaged, or was saved by PyTorch before 1.6") from None
        if not stored or total > len(content):
            raise self.wrong("is packed in a way that PyTorch does not")
        try:
            # weights_only builds tensors, numbers, text and containers, and refuses whatever else is named
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception:  # a damaged file makes it raise anything
            raise self.wrong("is damaged, or holds more than weights") from None

    def check(self, name: str, tensor: Any) -> Tensor:
        if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.is_quantized:
            raise self.wrong(f"holds {name[:80]}, which is not a tensor of numbers")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise self.wrong(f"holds {name[:80]} of a shape with more numbers than it has")
        if not (tensor.is_floating_point() and bool(torch.isfinite(tensor).all())):
            raise self.wrong(f"holds {name[:80]}, which is not finite")
        return tensor.detach().to(torch.float32).contiguous()


def read_weights(content: bytes, where: str) -> dict[str, Tensor]:
    """Read named tensors of float32, on the CPU.

    Parameters
    ----------
    content : bytes
        What ``torch.save`` wrote.
    where : str
        What it is of, for messages.

    Raises
    ------
    InputError
        Where it holds anything else, a number that is not finite, or a shape larger than its numbers.
    """
    weights = _Weights(where)
    found = weights.read(content)
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        raise weights.wrong("does not hold named tensors")
    return {name: weights.check(name, tensor) for name, tensor in found.items()}


def read_optimizer(content: bytes, where: str) -> tuple[dict[str, Any], dict[int, dict[str, Any]]]:
    """Read the state of a torch optimizer with one group of parameters.

    Parameters
    ----------
    content : bytes
        What ``torch.save`` wrote.
    where : str
        What it is of, for messages.

    Returns
    -------
    group : dict
        Its settings.
    state : dict
        By the place of a parameter: tensors and numbers by name.

    Raises
    ------
    InputError
        Where it is no such state.
    """
    weights = _Weights(where)
    found = weights.read(content)
    groups, state = (found.get(name) for name in ("param_groups", "state")) if isinstance(found, dict) else (None, None)
    if not (isinstance(groups, list) and len(groups) == 1 and isinstance(groups[0], dict) and isinstance(state, dict)):
        raise weights.wrong("is not the state of an optimizer")
    read: dict[int, dict[str, Any]] = {}
    for place, own in state.items():
        if not (isinstance(place, int) and isinstance(own, dict)):
            raise weights.wrong("is not the state of an optimizer")
        read[place] = {
            str(name): weights.check(str(name), value) if isinstance(value, Tensor) else value
            for name, value in own.items()
        }
    return groups[0], read
