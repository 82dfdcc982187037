"""Names that files of earlier versions have and nothing else has: the only place in the project that knows them."""

FORMER_NAMES = {
    "truth": "true_gradient",
    "truth_pair": "true_gradient_pair",
    "cosine_to_truth": "cosine_to_true_gradient",
    "cosine_to_truth_corrected": "cosine_to_true_gradient_corrected",
    "cosine_between_truths": "cosine_between_true_gradients",
    "alternative_cosine_to_truth_corrected": "alternative_cosine_to_true_gradient_corrected",
    "layer_noise_share": "layer_noise_fraction",
    "is_beginning": "is_prefix",
    "step_size": "update_size",
    "step_batches": "update_batches",
    "step_fresh_optimizer": "fresh_optimizer",
    "step_mean_kl": "update_mean_kl",
    "step_norm": "mean_update_norm",
    "step_pairwise_cosine": "update_pairwise_cosine",
    "step_true_cosine": "update_true_cosine",
    "step_true_cosine_corrected": "update_true_cosine_corrected",
    "zero_steps": "zero_updates_by_size",
    "complete_pairwise_cosine": "monte_carlo_pairwise_cosine",
    "noise_share": "noise_fraction",
    "decided_share": "fraction_significant",
    "chance_of_loss": "probability_worse",
    "pairing_saving": "crn_variance_reduction",
    "predicted_gain": "full_update_predicted_improvement",
    "realised_gain": "full_update_realized_improvement",
    "failed_step": "failed_update",
    "zero_step": "zero_update",
    "full_step_mean_kl": "full_update_mean_kl",
    "full_step_norm": "full_update_norm",
    "loss_share": "fraction_worse",
    "step_failed": "line_search_failed",
    "high_kl_batch": "kl_p99_batch",
    "high_kl_heldout": "kl_p99_heldout",
    "high_reverse_kl_batch": "reverse_kl_p99_batch",
    "high_reverse_kl_heldout": "reverse_kl_p99_heldout",
}
"""Names of version 1 of variables and dimensions; ``_low`` and ``_high`` follow."""
FORMER_LABELS = {
    "normalised": "normalized",
    "cut_returns": "cut_off_returns",
    "high_kl": "kl_p99",
    "high_reverse_kl": "reverse_kl_p99",
}
"""Values of version 1 of text coordinates and attributes."""
FORMER_SETTINGS = {
    "algo": "algorithm",
    "env": "environment",
    "env_arguments": "environment_arguments",
    "truths": "true_gradients",
    "computed_steps": "updates",
    "step_sizes": "update_sizes",
}
"""Names that settings of earlier runs had, with those they have."""
