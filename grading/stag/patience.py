"""How long one waits for something.

A computer that stood still (a virtual machine that its host kept from running)
finds that the clock has gone on, while nothing could have happened. So time is
counted from look to look, and none counts for more than LOOK.
"""

from __future__ import annotations

import time

LOOK = 1.0  # seconds


class Patience:
    """Ask pause() whenever nothing has happened, and wait for so long."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._looked = time.monotonic()

    def pause(self) -> float:
        """Seconds until the next look; 0 when patience is at its end."""
        now = time.monotonic()
        self._left -= min(now - self._looked, LOOK)
        self._looked = now
        return max(0.0, min(self._left, LOOK / 2))
