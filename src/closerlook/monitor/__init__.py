"""What a training loop has in hand between rollout and update: a batch, and what can be said of it.

`batch` is the batch itself, `sources` where it comes from; `lint` recomputes it; `census` counts what is in it;
`estimates` measures from it alone; `monitor` does all of that while an agent trains.
"""
