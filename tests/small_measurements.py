"""The four diagnostics, each asked for as little as it takes to say something."""

ASKED = {
    "gradient_quality": {"pairs": 1024, "sizes": [32], "estimates": 4},
    "value_prediction": {"pairs": 1024, "fit_pairs": 1024, "sizes": [32], "restarts": 0},
    "landscape": {"algorithm": "ppo", "pairs": 64, "line_pairs": 64, "heldout_pairs": 256, "grid": 3},
    "trust_region": {"algorithm": "ppo", "repeats": 3, "pairs": 128, "return_pairs": 128},
}
TOLD = {
    "gradient_quality": "gradient_norm",
    "value_prediction": "mean_episode_return",
    "landscape": "true_reward",
    "trust_region": "true_reward_before",
}
"""A number of each that depends on what was drawn."""
