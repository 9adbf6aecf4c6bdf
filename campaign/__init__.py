"""A hostile week in minutes: kills, full disks, damaged files, hostile text, broken servers; `python -m campaign`."""
