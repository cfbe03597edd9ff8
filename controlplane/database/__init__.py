"""Django's PostgreSQL backend, with connections that never stay dead (base.py)."""
