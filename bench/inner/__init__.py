"""Programs that benches start: not to be called by people."""
