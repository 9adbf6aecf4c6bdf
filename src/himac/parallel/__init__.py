"""Several processes as one: what each does of a run, and what they tell one another."""

from himac.parallel.ranks import ALONE, Alone, Ranks

__all__ = ["ALONE", "Alone", "Ranks"]
