"""One machine: its packages, Python environment, store, processes, networks, and which Stoa has which."""
