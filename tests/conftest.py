"""Hypothesis: no deadlines, and a longer search with HYPOTHESIS_PROFILE=long."""

import os

from hypothesis import settings

settings.register_profile("default", deadline=None)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
