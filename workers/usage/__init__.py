"""From measured to expected to booked: see README.md."""
