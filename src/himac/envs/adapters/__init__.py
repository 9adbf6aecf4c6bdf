"""Worlds of other libraries in himac, and himac's in theirs; one module a library and direction, none imported by himac itself."""
