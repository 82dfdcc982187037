"""Who may write to a folder: one command at a time.

A command that writes takes its folder, and lets it go as it ends. The file `OWNER` in the folder says that it is taken,
in two ways:

* A lock of the kernel's (``flock``) holds on one host, and where the file system carries locks from host to host. It
  ends with its process, however that ends.
* A lease, the content of the file, is what hosts see of each other where locks do not reach: host, process, a token,
  and a beat that its owner counts up every `BEAT` seconds. Whoever finds another host's lease watches it. One that
  beats is refused, unless `taking_over` says otherwise; one that is silent for `SILENCE` seconds, by the clock of who
  watches, is a dead process', and is taken over. No clock of one host is compared with that of another.

An owner whose lease was taken over, because it was stopped for long or because somebody said so, learns of it before
its next write (`Ownership.require`).

What is owned is the right to say what a folder holds: its record, what is deleted, what answers are merged to. Answers
of jobs are named after everything that decides them and written whole, so that any number of processes may store the
same ones. So a measurement has one owner and any number of workers, which own nothing (`closerlook.results.open_jobs`).
"""

import errno
import fcntl
import json
import os
import platform
import secrets
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from closerlook.errors import InputError
from closerlook.results.writing import plain_errors

OWNER = ".owner"
"""The file that says whose a folder is."""
BEAT = 5.0
"""Seconds after which an owner says that it is alive."""
SILENCE = 60.0
"""Seconds without a beat after which a process of another host counts as dead."""

_LONGEST = 4096
_WITHOUT_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_takes_over: ContextVar[bool] = ContextVar("takes_over", default=False)
_kept: ContextVar["dict[Path, Ownership] | None"] = ContextVar("kept", default=None)


@dataclass(frozen=True)
class Lease:
    """What an owner writes into its file.

    Parameters
    ----------
    token : str
        Its own: no two owners have the same.
    host : str
        Name of its machine, for people.
    boot : str
        Tells machines of one name apart, and a machine before it was started anew.
    process : int
        Its number there.
    beat : int
        How often it has said that it is alive.
    """

    token: str
    host: str
    boot: str
    process: int
    beat: int = 0

    @property
    def is_foreign(self) -> bool:
        """Whether its owner runs where this process' locks may not reach."""
        return (self.host, self.boot) != this_host()

    def __str__(self) -> str:
        """Name the owner."""
        return f"process {self.process} on {self.host}"


class Ownership:
    """A file that this process has taken; it is let go by `release`, or with the process.

    Parameters
    ----------
    path : Path
        The file.
    descriptor : int
        Of the file, open and locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        host, boot = this_host()
        self._lease = Lease(secrets.token_hex(8), host, boot, os.getpid())
        ended = threading.Event()
        try:
            _write(descriptor, self._lease)
            # a lease that beats tells other hosts, whose kernels do not see the lock, that its owner is alive
            threading.Thread(target=_keep_beating, args=(path, self._lease, ended), daemon=True).start()
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self.release = weakref.finalize(self, _let_go, path, self._lease, descriptor, ended)
        """Let the file go, and delete it; where it was taken over, leave it. Done by itself where this is forgotten."""

    @property
    def is_held(self) -> bool:
        """Whether the file is still this process' own."""
        return _is_same(read_lease(self.path), self._lease)

    def require(self) -> None:
        """Go on only where the file is still this process' own.

        Raises
        ------
        InputError
            Where another command has taken it over, or somebody deleted it.
        """
        # another host may have taken a silent folder over while this process was stopped
        found = read_lease(self.path)
        if not _is_same(found, self._lease):
            by = "" if found is None else f" by {found}"
            what = f"{self.path.parent} was taken over{by} while this command was stopped"
            raise InputError(what, "what was finished is kept: give the same command again when that one has ended")


class Watched:
    """Leases of others as they are seen to beat, by the clock of who watches alone.

    Parameters
    ----------
    clock : callable
        Seconds, from any beginning.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[Path, tuple[Lease, float]] = {}

    def is_alive(self, path: Path) -> bool:
        """Whether a lease is there and has not been silent for too long: what is seen for the first time is alive.

        Parameters
        ----------
        path : Path
            Its file.
        """
        lease, now = read_lease(path), self._clock()
        if lease is None:
            self._seen.pop(path, None)
            return False
        before, since = self._seen.get(path, (None, now))
        if lease != before:
            self._seen[path] = (lease, now)
            return True
        # a number that no process of this machine has may be one of a container: it is watched as well, not as long
        return now - since < (SILENCE if lease.is_foreign or _exists(lease.process) else 3 * BEAT)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is another user's; or no number of a process
        return True
    return True


def enter(path: Path) -> Ownership:
    """Make a file of a name that nobody else has, and beat in it.

    Raises
    ------
    OSError
        Where its folder is gone, or the disk refuses.
    """
    return Ownership(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))


@contextmanager
def taking_over() -> Iterator[None]:
    """Take folders also from processes of other hosts that are alive, or seem to be."""
    before = _takes_over.set(True)
    try:
        yield
    finally:
        _takes_over.reset(before)


@contextmanager
def kept() -> Iterator[None]:
    """Let folders that are taken in a block go at its end only: figures drawn after a run are drawn by its owner."""
    held: dict[Path, Ownership] = {}
    before = _kept.set(held)
    try:
        yield
    finally:
        _kept.reset(before)
        for own in held.values():
            own.release()


@contextmanager
def owned(folder: Path) -> Iterator[Ownership]:
    """Own a folder while a block runs; it is made where it does not exist.

    Raises
    ------
    InputError
        As `take` does.
    """
    with plain_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    own = take(folder)
    try:
        yield own
    finally:
        let_go(own)


def let_go(own: Ownership) -> None:
    """Let a folder go, now or at the end of `kept`."""
    held = _kept.get()
    if held is None:
        own.release()
    else:
        held[own.path.absolute()] = own


def take(folder: Path) -> Ownership:
    """Take a folder that exists.

    Raises
    ------
    InputError
        Where another command owns it; where the disk refuses.
    """
    path = folder / OWNER
    # a command of several runs keeps its folder from one to the next
    own = (_kept.get() or {}).pop(path.absolute(), None)
    if own is not None:
        own.require()
        return own
    with plain_errors(folder):
        while (own := _try(path)) is None:
            pass  # the file was another's and is gone: there is a new one to take
    return own


def _try(path: Path) -> Ownership | None:
    """Take the file that is there now; None where it is not, or no longer, the one to take."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        is_locked = _lock(descriptor)
        found = read_lease(path)
        # locked: a process of this host is at work, or the kernel of a shared disk says so
        if is_locked is False:
            _require_permission(path, found)
        # the file was unlinked between opening and locking it: the lock is on nobody's file
        elif not _is_at(descriptor, path):
            os.close(descriptor)
            return None
        # nobody holds the lock, and the lease was of this host: its owner has ended
        elif found is None or not (found.is_foreign or is_locked is None):
            return Ownership(path, descriptor)
        elif not _takes_over.get():
            _watch(path, found)
        path.unlink(missing_ok=True)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _lock(descriptor: int) -> bool | None:
    """Lock an open file: whether that went well, None where the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            return None
        raise
    return True


def _require_permission(path: Path, found: Lease | None) -> None:
    """Take what another process has locked only where it runs on another host, and only where that was asked for."""
    # the kernel's lock is certain on one host; of another host's a person may know better
    if found is None or not found.is_foreign:
        who = "another process" if found is None else str(found)
        raise InputError(f"{path.parent} is in use by {who}", "wait until it has ended, or give another --out")
    if not _takes_over.get():
        raise _in_use(path, found)


def _watch(path: Path, found: Lease) -> None:
    """See whether the owner of a lease is dead.

    Raises
    ------
    InputError
        Where it is alive.
    """
    warnings.warn(
        f"{path.parent} was last taken by {found}: it is watched for up to {SILENCE:g} s whether that is alive",
        stacklevel=2,
    )
    # a lease that does not beat for so long is of a process that has ended
    stop = time.monotonic() + SILENCE
    while time.monotonic() < stop:
        time.sleep(min(BEAT, SILENCE) / 10)
        now = read_lease(path)
        if now is not None and now != found:
            raise _in_use(path, now)


def _in_use(path: Path, by: Lease) -> InputError:
    hint = "wait until it has ended, give another --out, or --take-over if it should not go on"
    return InputError(f"{path.parent} is in use by {by}", hint)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def read_lease(path: Path) -> Lease | None:
    """Read a lease; None where there is none that makes sense."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LONGEST))
        lease = Lease(**content)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    kinds = {name: type(value) for name, value in asdict(lease).items()}
    usual = {"token": str, "host": str, "boot": str, "process": int, "beat": int}
    return lease if kinds == usual and lease.host.isprintable() else None


def _write(descriptor: int, lease: Lease) -> None:
    """Write a lease in place, at once and always as long, so that nobody reads half of it."""
    os.pwrite(descriptor, json.dumps(asdict(lease)).ljust(_LONGEST // 8).encode(), 0)


def _keep_beating(path: Path, lease: Lease, ended: threading.Event) -> None:
    """Say every now and then that the owner is alive, until it ends or the file is another's."""
    while not ended.wait(BEAT):
        lease = replace(lease, beat=lease.beat + 1)
        with suppress(OSError):  # a share that is away for a moment; the owner is told where it matters
            descriptor = os.open(path, os.O_WRONLY)
            try:
                # never written over another's lease
                if _is_same(read_lease(path), lease):
                    _write(descriptor, lease)
            finally:
                os.close(descriptor)


def _is_same(found: Lease | None, lease: Lease) -> bool:
    return found is not None and found.token == lease.token


def _let_go(path: Path, lease: Lease, descriptor: int, ended: threading.Event) -> None:
    ended.set()
    with suppress(OSError):
        if _is_same(read_lease(path), lease):
            path.unlink()
    os.close(descriptor)


@cache
def this_host() -> tuple[str, str]:
    """Return the name of this machine, and what tells it from others of that name, and from itself before a start."""
    with suppress(OSError):
        return platform.node(), Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return platform.node(), ""
