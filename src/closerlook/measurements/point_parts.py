"""How the true rewards of many points, each of many streams, are divided into jobs, and put together again."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from closerlook.execution import Job
from closerlook.measurements.episode_returns import LISTED, SUMS
from closerlook.measurements.pooled import Answers
from closerlook.simulation.engine import LANES

STREAMS_OF_A_JOB = 16


def parts_of(points: int, streams: int) -> Iterator[tuple[range, range]]:
    """Divide points, and the streams of each, into the parts of jobs: as many points as fill the lanes.

    Parameters
    ----------
    points : int
        P.
    streams : int
        S, of each point.
    """
    # lanes = points x streams of a job: as many points as fill the lanes beside so many streams
    together = max(1, min(streams, STREAMS_OF_A_JOB))
    abreast = max(1, LANES // together)
    for stream in _ranges(streams, together):
        for point in _ranges(points, abreast):
            yield point, stream


def _ranges(stop: int, size: int) -> Iterator[range]:
    for first in range(0, stop, size):
        yield range(first, min(first + size, stop))


def one_point(job: Job, share: float) -> Job:
    """Return such a job of one point and one stream, whatever share of the work was meant.

    Parameters
    ----------
    job : Job
        Of many points and streams.
    share : float
        Of the work; not used, as this is the smallest part there is.
    """
    asked = job.arguments
    streams, points = asked["streams"], asked["points"]
    fewer = {
        "streams": replace(streams, stop=streams.first + 1),
        "points": replace(points, multiples=points.multiples[:1]),
        "seeds": asked["seeds"][:1],
    }
    count = (streams.stop - streams.first) * len(points.multiples)
    return replace(job, arguments={**asked, **fewer}, pairs=job.pairs / count)


def joined(answers: Answers, points: int, streams: int) -> Mapping[str, np.ndarray]:
    """Put the answers of the parts back together: sums (P, S), and the episodes of all.

    Parameters
    ----------
    answers : sequence of mapping of str to ndarray
        Of the jobs, in the order of `parts_of`.
    points : int
        P.
    streams : int
        S, of each point.
    """
    whole = {name: np.empty((points, streams)) for name in SUMS}
    lists: dict[str, list[np.ndarray]] = {name: [] for name in LISTED}
    for (point, stream), answer in zip(parts_of(points, streams), answers, strict=False):
        for name in SUMS:
            whole[name][point.start : point.stop, stream.start : stream.stop] = answer[name]
        for name, own in lists.items():
            own.append(answer[name] + (point.start if name == "episode_policy" else 0))
    return whole | {name: np.concatenate(parts) for name, parts in lists.items()}
