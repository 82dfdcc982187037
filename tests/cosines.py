"""Made-up datasets of gradient quality, for the tests of what shows them."""

import numpy as np
import xarray as xr

STREAM = 2048


def cosine_dataset(seeds=(0, 1), iterations=(0, 60), sizes=(128, 512, 2048, 8192, 32768), true=False, steps=()):
    """Agents by iteration and seed, whose cosines rise with the size and fall with the iteration."""
    which = [(iteration, seed) for iteration in iterations for seed in seeds]
    sizes = np.asarray(sizes)
    cosine = np.array([1 / (1 + (1 + i / 10) * (1 + s / 4) * 1000 / sizes) for i, s in which])
    half = 0.1 * (1 - cosine) + 0.01
    count = len(which)
    scales = np.array([(1 + i / 10) * (1 + s / 4) * 1000 for i, s in which])
    each = {"pairs": 327_680, "streams": 160, "trajectories": 3_000, "mean_episode_return": 20.0}
    dataset = xr.Dataset(
        {
            "pairs_used": ("size", sizes),
            "estimates": (("agent", "size"), np.full(cosine.shape, 10)),
            "pairwise_cosine": (("agent", "size"), cosine),
            "pairwise_cosine_low": (("agent", "size"), cosine - half),
            "pairwise_cosine_high": (("agent", "size"), cosine + half),
            "gradient_norm": (("agent", "size"), cosine),
            "zero_gradients": (("agent", "size"), np.zeros(cosine.shape, dtype=int)),
            **{name: ("agent", np.full(count, value)) for name, value in each.items()},
            "noise_scale_pairs": ("agent", scales),
            "noise_scale_pairs_low": ("agent", scales / 1.2),
            "noise_scale_pairs_high": ("agent", scales * 1.2),
            "pairs_for_true_cosine_half": ("agent", scales / 3),
        },
        coords={
            "agent": np.arange(count),
            "iteration": ("agent", [i for i, _ in which]),
            "agent_seed": ("agent", [s for _, s in which]),
            "size": sizes,
        },
        attrs={
            "diagnostic": "gradients", "environment": "Hopper-v5", "algorithm": "ppo", "advantages": "normalized",
            "batch_pairs": STREAM, "stream_pairs": STREAM, "seed": 0, "schema_version": 2,
        },
    )  # fmt: skip
    if true:
        for end in ("", "_low", "_high"):
            dataset[f"true_cosine_corrected{end}"] = np.sqrt(np.maximum(dataset[f"pairwise_cosine{end}"], 0.0))
        dataset["predicted_pairwise_cosine"] = dataset["pairwise_cosine"].where(dataset["size"] >= STREAM)
        dataset["predicted_true_cosine"] = np.sqrt(dataset["predicted_pairwise_cosine"])
    if steps:
        dataset = dataset.assign_coords(update_size=list(steps))
        for name in ("update_pairwise_cosine", "update_true_cosine_corrected"):
            for end, shift in (("", 0.0), ("_low", -0.05), ("_high", 0.05)):
                values = np.broadcast_to(np.linspace(0.1, 0.4, len(steps)) + shift, (count, len(steps)))
                dataset[f"{name}{end}"] = ("agent", "update_size"), values.copy()
    return dataset if count > 1 else dataset.isel(agent=0)


def training_log(seeds=(0, 1), iterations=20):
    """A log whose reward rises, and is missing where no episode ended."""
    log = {"iteration": [], "agent_seed": [], "mean_reward": []}
    for iteration in range(iterations):
        for seed in seeds:
            log["iteration"].append(iteration)
            log["agent_seed"].append(seed)
            log["mean_reward"].append(np.nan if iteration == 3 and seed == 0 else 10.0 * iteration + seed)
    return {name: np.array(column) for name, column in log.items()}
