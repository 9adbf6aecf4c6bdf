"""An evaluation as a folder that the same command goes on in."""
