"""Shift this process's wall clock, as Python's time.time tells it, by the seconds of $OPENFLOCK_SKEW."""

import os
import time

_true_time, _skew = time.time, float(os.environ.get("OPENFLOCK_SKEW", "0"))
time.time = lambda: _true_time() + _skew
