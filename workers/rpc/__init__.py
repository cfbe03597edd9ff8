"""Calls from control to agents over the broker."""
