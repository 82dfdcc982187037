"""A Ray cluster of two nodes on this machine, in a process of its own: its address comes on stdout.

Each line on stdin kills the node that was there for longest (never the first, which holds the cluster together, and has
no processors), and starts another; the cluster ends with stdin.
"""

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

from killing import left_of, running, wait_for

STORE = 80 * 2**20


def main() -> None:
    warnings.simplefilter("ignore")
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as place:
        os.environ["RAY_TMPDIR"] = place
        Path(place, "ray").mkdir()
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - it takes seconds

        head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        second = json.loads(sys.argv[1]) if sys.argv[1:] else {}
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE, env_vars=more) for more in ({}, second)]
        out.write(f"{cluster.address}\n")
        out.flush()
        for _ in sys.stdin:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            nodes.append(cluster.add_node(num_cpus=1, object_store_memory=STORE))
            out.write("killed\n")
            out.flush()
        cluster.shutdown()


class Handle:
    """The cluster, from another process."""

    def __init__(self, process: object) -> None:
        self._process = process
        self.address = process.stdout.readline().strip()
        assert self.address

    def kill_a_node(self) -> None:
        """Kill a node, and start another."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "killed\n"

    def workers(self) -> list[int]:
        """Return the processes of closerlook's workers there."""
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if b"ray::_Place" in file.read_bytes():
                    found.append(int(file.parent.name))
            except OSError:
                pass
        return found


@contextmanager
def cluster(**second: str) -> Iterator[Handle]:
    """Have a cluster during a block.

    Parameters
    ----------
    **second
        Variables of the environment of its second node.
    """
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_worker_niceness": "0"}
    options = {"env": os.environ | quiet}
    with running([__file__, json.dumps(second)], stdin=PIPE, stdout=PIPE, text=True, **options) as process:
        yield Handle(process)
        process.stdin.close()
        process.wait(60)
        wait_for(lambda: not left_of(process.pid))


if __name__ == "__main__":
    main()
