"""Jobs for the tests of execution, in a module that a worker imports quickly."""

import os
import signal
import subprocess
import sys
import time

import numpy as np

from closerlook.errors import NonFiniteError


def draw(seed, size=4):
    """A slow start for even seeds, so that answers come out of order."""
    time.sleep(0.05 * (seed % 2 == 0))
    generator = np.random.default_rng(seed)
    return {"numbers": generator.normal(size=size), "product": generator.normal(size=(64, 64)) @ np.ones((64, 64))}


def whoami():
    import torch  # noqa: PLC0415 - the other jobs start sooner without it

    return {"pid": np.array(os.getpid()), "threads": np.array(torch.get_num_threads())}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_a_child() -> dict:
    """Die, and leave a forked process that has everything open which this one had."""
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    return die()


def leave():
    os._exit(3)


def end_a_program():
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    program.terminate()
    return {"code": np.array(program.wait())}


def fail(message):
    raise NonFiniteError(message, "look at the rewards")


def stumble():
    return {"quotient": np.array(1 / 0)}


def answer_with(value):
    return {"answer": np.array(value() if callable(value) else value)}
