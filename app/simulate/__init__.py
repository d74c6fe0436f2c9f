"""Labelers that sign in and label over HTTP like people do, choosing by a rule."""

from app.simulate.crowd import Options, Summary, simulate
from app.simulate.rules import load_rule

__all__ = ["Options", "Summary", "load_rule", "simulate"]
