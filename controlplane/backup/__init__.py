"""The record and the secrets in one file, and back (docs/decisions/0030)."""
