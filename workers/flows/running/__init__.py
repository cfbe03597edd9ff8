"""Who works on an operation: the line, the runner, one attempt and how it ends."""
