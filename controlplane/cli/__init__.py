"""`stoa`: the pool, its hosts and its tenants from a command line. Speaks to the REST API; no Django here."""
