"""Networks, distributions, scores and curvature: functions of tensors; no environments, files or settings."""
