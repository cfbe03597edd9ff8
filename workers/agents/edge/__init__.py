"""The agent of an edge, and how HAProxy starts."""
