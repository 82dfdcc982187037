"""Drawing: what figures and tables share, and the figures of training logs."""
