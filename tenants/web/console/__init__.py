"""The merchant's pages: log in, my shops, one shop."""
