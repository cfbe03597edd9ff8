"""One file per periodic task: observe, decide, act."""
