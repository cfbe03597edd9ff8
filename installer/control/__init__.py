"""A control plane: what bin/up makes, starts, brings up to date and waits for."""
