"""Labelers that sign in and label over HTTP like people do, choosing by a rule."""

from app.rules import load_rule
from app.simulate.crowd import Options, Summary, simulate

__all__ = ["Options", "Summary", "load_rule", "simulate"]
