"""The time that each command announces, against the time that it takes from there on.

Agents are trained here first, with the discounts that are given: with 0.999 a stream is followed for thousands of steps
past its cut. The goal is a factor of 1.5 either way. What others do on the machine meanwhile counts as well, so that
beside each ratio stands which part of all cores the command had; where that is little, the ratio tells little.

    python benchmarks/foretold.py
    python benchmarks/foretold.py --tasks hopper humanoid --gammas 0.99 --scale 4
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

GOAL = 1.5
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "days": 86_400.0}
ANNOUNCED = re.compile(r"pairs of .*, about ([\d.]+) (s|min|h|days)$")


def train(task: str, gamma: float, scale: float) -> list[str]:
    steps = round(10 * scale) * 2048
    return ["train", "--env", task, "--steps", str(steps), "--seeds", "2", "--gamma", str(gamma), "--checkpoints", "0"]


def measurements(agent: str, scale: float) -> list[list[str]]:
    """Return a command of each kind, and of each kind of work that is no plain sampling."""
    pool, point, of = f"{65_536 * scale:.0f}", f"{4096 * scale:.0f}", [agent, "--agent-seed", "0"]
    fit = f"{32_768 * scale:.0f}"
    return [
        ["gradients", *of, "--pairs", pool],
        ["gradients", *of, "--pairs", pool, "--true-gradients", "discounted_return", "episode_return"],
        ["gradients", *of, "--pairs", pool, "--estimates", "4", "--updates"],
        ["values", *of, "--pairs", fit, "--fit-pairs", fit],
        ["values", *of, "--pairs", fit, "--fit-pairs", "0", "--restarts", "8"],
        ["landscape", *of, "--pairs", point, "--line-pairs", point, "--heldout-pairs", point, "--grid", "5"],
        ["trust-region", *of, "--repeats", "4", "--pairs", point, "--return-pairs", point],
    ]


def told_and_taken(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Give a command; return the seconds it announces, those it takes from there on, and its part of all cores."""
    told = begun = float("nan")
    started, used = time.perf_counter(), processor_seconds()
    full = [sys.executable, "-m", "closerlook", *command, "--out", str(folder)]
    wide = os.environ | {"COLUMNS": "300"}
    with subprocess.Popen(full, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=wide) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := ANNOUNCED.search(line.rstrip()):
                told, begun = float(found[1]) * UNITS[found[2]], time.perf_counter()
    if process.returncode != 0:
        sys.exit("".join(lines))
    now = time.perf_counter()
    return told, now - begun, (processor_seconds() - used) / ((now - started) * (os.cpu_count() or 1))


def processor_seconds() -> float:
    """Return what all commands so far have used, worker processes among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tell(task: str, gamma: float, command: list[str], folder: Path) -> float:
    told, taken, part = told_and_taken(command, folder)
    what = " ".join(command).replace(f"{folder.parent / 'agent'} --agent-seed 0 ", "")
    ratio = f"announced {told:5.0f} s  taken {taken:5.0f} s  ratio {told / taken:5.2f}  of the cores {part:4.2f}"
    print(f"{task:10} {gamma:<6} {ratio}  {what}", flush=True)
    return max(told / taken, taken / told)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["hopper"])
    parser.add_argument("--gammas", nargs="+", type=float, default=[0.99, 0.999])
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    off = []
    for task in arguments.tasks:
        for gamma in arguments.gammas:
            with TemporaryDirectory() as place:
                agent = Path(place) / "agent"
                off.append(tell(task, gamma, train(task, gamma, arguments.scale), agent))
                for number, command in enumerate(measurements(str(agent), arguments.scale)):
                    off.append(tell(task, gamma, command, Path(place) / str(number)))
    print(f"within a factor of {GOAL}: {sum(one <= GOAL for one in off)} of {len(off)}; at most {max(off):.2f}")


if __name__ == "__main__":
    main()
