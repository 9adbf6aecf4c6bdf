"""Who decides what to ask the model and what its words mean. No I/O, no tokens, no torch."""
