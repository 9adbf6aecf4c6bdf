"""Training: the co-evolution loop, the warm start, and what a run is put together from.

`himac.train` is this folder and also the function that trains: calling the module calls `himac.train.door.train`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Door(ModuleType):
    def __call__(self, *args: Any, **settings: Any) -> Any:
        """See `himac.train.door.train`."""
        from himac.train.door import train

        return train(*args, **settings)


sys.modules[__name__].__class__ = _Door
