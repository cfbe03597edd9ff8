"""How an instance ends: stopped, cleared away, and what is kept of its end."""
