"""What a process holds for a time: leases of operations, and the turn of a periodic task."""
