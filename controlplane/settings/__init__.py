"""Settings, from the environment only: base for every program, test for the tests."""
