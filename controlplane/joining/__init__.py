"""How this machine becomes a host of a pool, and how it leaves it again. No Django, no database."""
