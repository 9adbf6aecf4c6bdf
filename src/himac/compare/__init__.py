"""Methods side by side: a plan runs them, a reader judges them.

A comparison is made of runs and of nothing else. `plan` says which, `runner` sees to it that they are there
(as subprocesses), `reading` reads them, `statistics` and `summary` judge them into one JSON-ready dict, and `tables` and
`curves` draw that dict, so a table can be drawn again from its JSON alone.
"""
