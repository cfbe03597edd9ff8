"""What is done for each verb: load, act with no transaction open, record with the lease checked first."""
