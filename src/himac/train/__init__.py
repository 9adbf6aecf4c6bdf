"""Training: the co-evolution loop, the warm start, and what a run is put together from."""
