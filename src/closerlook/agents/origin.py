"""Where an agent that another library trained comes from: what its file said, and what it did not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Acting = Literal["sampled", "mode"]


@dataclass(frozen=True)
class Recorded:
    """Returns of episodes that were recorded when the agent was trained.

    Parameters
    ----------
    returns : tuple of float
        Undiscounted, of true rewards; of one number, its mean.
    acting : {"sampled", "mode"}
        Whether actions were drawn, or the likeliest were taken.
    source : str
        Where they stand.
    standard_error : float or None
        Of the mean, where only that is known; None: from the returns.
    """

    returns: tuple[float, ...]
    acting: Acting
    source: str
    standard_error: float | None = None


@dataclass(frozen=True)
class Origin:
    """What is known of an imported agent beside what it is.

    Parameters
    ----------
    format : str
        Kind of the file.
    library, version : str
        What wrote it; empty where it does not say.
    policy : str
        The kind of its policy, in the library's words.
    steps : int or None
        Steps of the environment it was trained for.
    observations_seen : float or None
        How many observations its statistics are of.
    recorded : tuple of Recorded
        Best evidence first.
    assumed : mapping of str to str
        Setting to what was taken for it, and why.
    missing : mapping of str to str
        What cannot be known, to how to give it.
    notices : tuple of str
        What else whoever measures it should know.
    """

    format: str
    library: str = ""
    version: str = ""
    policy: str = ""
    steps: int | None = None
    observations_seen: float | None = None
    recorded: tuple[Recorded, ...] = ()
    assumed: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
