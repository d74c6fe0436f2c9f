"""Property tests measure truth, not time: a busy machine must not fail them, and every run draws the same cases."""

from hypothesis import settings

settings.register_profile("prefloop", deadline=None, derandomize=True)
settings.load_profile("prefloop")
