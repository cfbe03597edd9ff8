"""The pool in the form that the scheduler takes, and rows as values for drivers."""
