"""Commands of the whole project (tenants/management has those of the record)."""
