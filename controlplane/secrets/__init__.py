"""The pool's CA and the files that hold credentials."""
