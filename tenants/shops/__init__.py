"""Shops from sign-up to removal, and who may see which."""
