"""Episodes run by other processes, here or on other machines: Ray actors behind the door of an `EpisodeRunner`.

Nothing outside of this folder imports Ray, and nothing in it is imported by who uses none.
"""

from himac.remote.cluster import connected
from himac.remote.runner import RemoteRunner
from himac.remote.worker import Parts

__all__ = ["Parts", "RemoteRunner", "connected"]
