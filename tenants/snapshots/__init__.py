"""Copies of tenants' data: begun, kept, thinned out, deleted, and where their bytes are."""
