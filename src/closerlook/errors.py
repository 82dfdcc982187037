"""The errors a user can fix: each says in one line what is wrong and how to put it right."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(Exception):
    """Input that cannot be used. The command line prints the message on one line and exits with code 2.

    Parameters
    ----------
    what : str
        What is wrong, naming the value.
    hint : str
        What to do instead.

    See Also
    --------
    closerlook.NonFiniteError : of numbers that are not finite.

    Examples
    --------
    >>> import closerlook as cl
    >>> try:
    ...     cl.PPOSettings(clip=-0.2)
    ... except cl.InputError as error:
    ...     print(error)
    clip must be a positive number (got -0.2); give a positive number
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what}; {hint}")
        self.what = what
        self.hint = hint

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.what, self.hint)


class NonFiniteError(InputError):
    """A NaN or an infinity where a number was due: rewards, observations, parameters.

    See Also
    --------
    closerlook.InputError : of input that cannot be used.

    Examples
    --------
    >>> import closerlook as cl
    >>> print(cl.NonFiniteError("a reward is not finite", "look at the environment"))
    a reward is not finite; look at the environment
    """


class PolicyError(InputError):
    """The agent's own policy raised something: its module, or the distribution made of what it answers."""


@contextmanager
def users_code(name: str, hint: str, error: type[InputError] = InputError) -> Iterator[None]:
    """Run code of the user's, which may raise anything.

    Parameters
    ----------
    name : str
        What runs, for example ``"environment 'mine:Id'"``.
    hint : str
        What to do where it fails.
    error : type
        What is raised then.

    Raises
    ------
    InputError
        In place of any exception and of `SystemExit`, saying its type, its message and where it was raised; an
        `InputError` passes as it is, and so does what is no failure (`KeyboardInterrupt`).
    """
    try:
        yield
    except InputError:
        raise
    except (Exception, SystemExit) as raised:
        place = traceback.extract_tb(raised.__traceback__)[-1]
        raised_in = Path(place.filename)
        ours = Path(__file__).parent in raised_in.parents
        where = "" if ours else f", {raised_in.name} line {place.lineno}"
        raise error(f"{name} failed ({in_one_line(raised)}{where})", hint) from raised


def in_one_line(error: BaseException) -> str:
    """Return an exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
