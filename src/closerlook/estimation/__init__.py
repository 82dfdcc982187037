"""Pure functions of tensors: networks, returns, gradients, intervals. No environments, files or settings."""
