"""Do the same commands still give the same numbers? Stores every diagnostic's variables, or compares with stored ones.

    python benchmarks/same_numbers.py store FOLDER      with the code of before
    python benchmarks/same_numbers.py compare FOLDER    with the code of after, on the same machine

Three agents are measured by every diagnostic: PPO on Hopper and TRPO on Walker2d of the atlas, and a torch module on a
plain Gymnasium environment. A change that only moves code leaves every variable equal to the last bit.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import closerlook as cl

ATLAS = Path(__file__).parents[1] / "atlas"


def torch_agent() -> Any:
    """Make a small agent of two torch modules, the same in every process."""
    generator = torch.Generator().manual_seed(7)
    policy, value = (
        torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, size)) for size in (2, 1)
    )
    with torch.no_grad():
        for parameter in (*policy.parameters(), *value.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return cl.Agent.from_torch(policy, value, distribution=_gaussian, gamma=0.9, gae_lambda=0.95)


def _gaussian(output: torch.Tensor) -> torch.distributions.Distribution:
    normal = torch.distributions.Normal(output[..., :1], output[..., 1:].exp())
    return torch.distributions.Independent(normal, 1)


def measure() -> dict[str, xr.Dataset]:
    """Measure every agent by every diagnostic, in little time."""
    agents = {
        "hopper": (cl.load(ATLAS / "hopper-ppo", iteration=150, seed=3), None),
        "walker2d": (cl.load(ATLAS / "walker2d-trpo", iteration=300, seed=1), None),
        "torch": (torch_agent(), "Pendulum-v1"),
    }
    found = {}
    for name, (agent, environment) in agents.items():
        common: dict[str, Any] = {"seed": 5, "workers": 2}
        found[f"{name}-gradients"] = cl.gradient_quality(
            agent, environment, pairs=40_960, estimates=4, lambdas=(0.5,), baselines=("returns",),
            true_gradients=("discounted_return", "episode_return"), updates=True, **common,
        )  # fmt: skip
        found[f"{name}-precision"] = cl.gradient_quality(
            agent, environment, pairs=131_072, precision=0.05, precision_size=512, **common
        )
        found[f"{name}-values"] = cl.value_prediction(
            agent, environment, pairs=20_480, fit_pairs=16_384, updates=2, restarts=4, restart_copies=4, **common
        )
        found[f"{name}-landscape"] = cl.landscape(
            agent, environment, pairs=2_048, line_pairs=4_096, heldout_pairs=4_096, gradient_pairs=8_192, grid=3,
            axes=("gradient", "random"), **common,
        )  # fmt: skip
        found[f"{name}-trust-region"] = cl.trust_region(
            agent, environment, repeats=3, pairs=4_096, return_pairs=4_096, **common
        )
    return found


def differences(before: xr.Dataset, after: xr.Dataset) -> list[str]:
    """List the variables and coordinates that are not equal to the last bit."""
    names = sorted({*map(str, before.variables), *map(str, after.variables)})
    return [
        name
        for name in names
        if name not in before.variables
        or name not in after.variables
        or not np.array_equal(before[name].values, after[name].values, equal_nan=before[name].dtype.kind == "f")
    ]


def main() -> int:
    """Store, or compare."""
    if len(sys.argv) != 3 or sys.argv[1] not in {"store", "compare"}:
        print(__doc__)
        return 2
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    changed = 0
    for name, dataset in measure().items():
        path = folder / f"{name}.nc"
        if sys.argv[1] == "store":
            dataset.to_netcdf(path, engine="netcdf4")
            continue
        with xr.open_dataset(path, engine="netcdf4") as before:
            names = differences(before.load(), dataset)
        changed += bool(names)
        print(f"{name}: {len(dataset.variables)} variables, {', '.join(names) or 'none'} changed")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
