"""Replays what machines really used through the scheduler's own code, and counts what it would have cost."""
