"""The errors a user can mend: each says in one line what is wrong and how to put it right."""


class InputError(Exception):
    """Input that cannot be used. The command line prints the message on one line and exits with code 2.

    Parameters
    ----------
    what : str
        What is wrong, naming the value.
    mend : str
        What to do instead.
    """

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}; {mend}")
        self.what = what
        self.mend = mend

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str]]:
        """Survive the way back from a worker process."""
        return type(self), (self.what, self.mend)


class NonFiniteError(InputError):
    """A NaN or an infinity where a number was due: rewards, observations, parameters."""
