"""What a product with the Fisher matrix of a large batch takes, block by block, beside one pass over all states.

Networks are those of the atlas (two layers of 64 units) for Hopper's and Humanoid's observations and actions; states
are normal numbers. Times are of the processor, of products alone. The error is that of the product, relative to
one in double precision. The goal is half the time.

    python benchmarks/fisher.py
    python benchmarks/fisher.py --states 16384 --rounds 3
"""

import argparse
import time
from functools import partial

import numpy as np
import torch

from closerlook.agents.policies import GaussianMLP
from closerlook.nn.curvature import VectorProduct, fisher_of_many, gaussian_fisher
from closerlook.nn.networks import MLP, flatten

GOAL = 0.5
TASKS = {"Hopper-v5": (11, 3), "Humanoid-v5": (348, 17)}


def seconds(product: VectorProduct, vector: torch.Tensor) -> float:
    """Return the processor time of a product."""
    before = time.process_time()
    product(vector)
    return time.process_time() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=262_144)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for task, (inputs, actions) in TASKS.items():
        policy = GaussianMLP(MLP((inputs, 64, 64, actions)))
        parameters = {name: 0.1 * torch.randn(1, *shape) for name, shape in policy.parameter_shapes.items()}
        states = torch.randn(1, arguments.states, inputs)
        vector = torch.randn_like(flatten(parameters, list(policy.parameter_shapes), stacked=True)).double()
        prepare = partial(gaussian_fisher, policy.network)
        whole, blocks = prepare(parameters, states), fisher_of_many(prepare, parameters, states)
        exact = prepare({name: one.double() for name, one in parameters.items()}, states.double())(vector)
        ratio = np.median([seconds(blocks, vector) / seconds(whole, vector) for _ in range(arguments.rounds)])
        errors = [float((one(vector) - exact).norm() / exact.norm()) for one in (whole, blocks)]
        print(f"{task:12s} {ratio:5.2f} of the time of one pass  (goal {GOAL}: {ratio <= GOAL}), ", end="")
        print("error {:.1e} of one pass, {:.1e} of blocks".format(*errors), flush=True)


if __name__ == "__main__":
    main()
