"""Plans, apps and releases: what can be bought and run."""
