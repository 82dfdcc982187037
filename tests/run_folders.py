"""Run folders as commands leave them, for the tests of pages: real results of an earlier version, and made-up ones."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import xarray as xr

from closerlook.checkups.answer import Checkup, Finding
from closerlook.results.store import RunFolder

DATA = Path(__file__).parents[1] / "docs" / "data"
MEASURED = {
    "gradients": "gradients-hopper-ppo.nc",
    "values": "values-fit-100000.nc",
    "landscape": "landscape-million-walker2d-ppo.nc",
    "trust-region": "trust-region-humanoid-trpo.nc",
}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 3"><path d="M0 3L4 0"/></svg>'
HOSTILE = "<script>alert('x')</script><img src=https://evil.example/x.png>"
CLAIM = {
    "id": "noise", "statement": "Estimates are noisy", "source": "Figure 1", "task": "Hopper-v5", "algorithm": "ppo",
    "mark": "holds", "value": 0.25, "low": 0.2, "high": 0.3, "rule": "below 0.5", "written": "2026-11-01",
    "measured": "2026-11-02",
}  # fmt: skip


def some_agents(kind):
    """A dataset of the atlas, of four agents at most: two of the first iteration, two of the last."""
    dataset = xr.load_dataset(DATA / MEASURED[kind], engine="netcdf4")
    if dataset.sizes.get("agent", 1) <= 4:
        return dataset
    order = np.argsort(dataset["iteration"].values, kind="stable")
    return dataset.isel(agent=[*order[:2], *order[-2:]])


@cache
def stored(kind):
    """`some_agents` as a dataset is stored."""
    return bytes(some_agents(kind).to_netcdf(engine="netcdf4"))


def begun(folder, kind, settings=None):
    """A run that has begun."""
    with RunFolder(folder).open_for(kind, {"seed": 3, **(settings or {})}) as store:
        store.keep(note="begun")
    return Path(folder)


def finished(folder, kind, settings=None):
    """A run that says that it is finished, without a result."""
    with RunFolder(folder).open_for(kind, {"seed": 3, **(settings or {})}) as store:
        store.finish(20_480)
    return Path(folder)


def measured(folder, kind, settings=None):
    """A measurement."""
    finished(folder, kind, {"environment": {"id": "Hopper-v5", "arguments": {}}, **(settings or {})})
    (Path(folder) / f"{kind}.nc").write_bytes(stored(kind))
    (Path(folder) / f"{kind}.svg").write_text(SVG)
    return Path(folder)


def trained(folder, seeds=(0, 1), iterations=12, picture=SVG):
    """A training run; without a picture it has to be drawn."""
    finished(folder, "train", {"environment": "Hopper-v5", "algorithm": "ppo", "seeds": len(seeds), "steps": 24_576})
    rows = [f"{i},{seed},{20.0 * i + seed if i else ''}," for i in range(iterations) for seed in seeds]
    (Path(folder) / "training.csv").write_text("\n".join(["iteration,agent_seed,mean_reward,notes", *rows]) + "\n")
    if picture:
        (Path(folder) / "training.svg").write_text(picture)
    return Path(folder)


def checked(folder, agent="mine.zip", environment="Hopper-v5"):
    """A checkup that found a cause."""
    settings = {"learning_rate": {"from": 0.01, "to": 0.0003, "effect": "shorter"}}
    checks = (
        Finding("not_learned", "reward", "ok", "It earns more than chance.", {"sampled_return": 50.0}),
        Finding("critic_scale", "critic", "problem", f"Values are too large: {HOSTILE}",
                {"value_scale": 40.0}, {"value_scale": (0.5, 2.0)}, "Make them smaller.", settings),
    )  # fmt: skip
    finished(folder, "checkup")
    answer = Checkup(agent, environment, checks, 1.0, 5_000, (f"read from {HOSTILE}",))
    (Path(folder) / "checkup.json").write_text(json.dumps(answer.to_json()))
    return Path(folder)


def claimed(folder, *claims):
    """Claims that were judged."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "claims.json").write_text(json.dumps({"claims": [{**CLAIM, **claim} for claim in claims]}))
    return Path(folder)
