"""A small real shop, written to be cheap to run two hundred thousand times.

It imports C modules directly (`_socket`, `posix`, `_sqlite3`) where the standard library's
wrappers would pull in enum, re, datetime or typing; docs/decisions/0004 says what each saved.
"""
