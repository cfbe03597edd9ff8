"""How an instance starts: the queue, and the launcher."""
