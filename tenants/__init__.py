"""The record: who our tenants are, what they bought, what should run and what does run."""
