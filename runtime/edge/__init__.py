"""The front proxy of an edge: its configuration, its one map of routes, and the hold service."""
