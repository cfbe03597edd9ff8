"""The programs on a host and on an edge: they carry out calls and report, with no database and no Django."""
