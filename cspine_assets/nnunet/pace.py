"""How far a long work is and when it will be done, in one line.

Change this file when that line changes. What is counted, and who reads it, is the caller's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SAY_EVERY_S = 10.0
"""Between two lines: a thousand quick cases would fill a log."""


class Pace:
    """Counts pieces of work, and says now and then how far it is.

    Args:
        total: Pieces in all.
        what: The pieces' name in the plural.
        clock: Seconds that only grow.
    """

    def __init__(self, total: int, what: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._what, self._clock = total, what, clock
        self._began = clock()
        self._said: float | None = None
        self._done = self._worked = 0

    def step(self, *, worked: bool = True) -> str | None:
        """One more is done; returns the line where it is time for one: at the first, the last, and now and then.

        Args:
            worked: Whether it cost anything; one that stood already says nothing of the time to come.
        """
        self._done += 1
        self._worked += worked
        now = self._clock()
        if self._said is not None and self._done < self._total and now - self._said < SAY_EVERY_S:
            return None
        self._said = now
        return self._line(now - self._began)

    def _line(self, passed_s: float) -> str:
        line = f"{self._done} of {self._total} {self._what}"
        if not self._worked:
            return line
        each_s = passed_s / self._worked
        line += f", {each_s:.1f} s each"
        left_s = (self._total - self._done) * each_s
        return f"{line}, about {duration(left_s)} left" if self._done < self._total else line


def duration(seconds: float) -> str:
    """A duration as people say it: ``40 s``, ``12 min``, ``28 h 5 min``."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def long_duration(seconds: float) -> str:
    """A duration that may be months: ``5 h 10 min``, ``12 days``, ``2.5 years``."""
    days = seconds / 86400
    if days < 2:
        return duration(seconds)
    return f"{days:.0f} days" if days < 730 else f"{days / 365:.1f} years"
