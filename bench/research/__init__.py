"""Replays what machines really used through the scheduler's own code, and counts what it would have cost.

Nothing here is the product: no package of it may import this one (pyproject.toml).
"""
