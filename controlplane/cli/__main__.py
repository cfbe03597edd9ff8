"""Starts `stoa` (bin/stoa)."""

from controlplane.cli.app import main

main()
