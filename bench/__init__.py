"""Measurements: `python -m bench NAME ARGUMENTS` runs `bench/NAME.py`."""
