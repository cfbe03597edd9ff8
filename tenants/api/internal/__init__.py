"""/internal/v1/: what agents ask of the program `depot`."""
