"""One machine: its packages, Python environment, processes, networks and ports."""
