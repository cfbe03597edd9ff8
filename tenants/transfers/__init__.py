"""A shop's instance or data goes elsewhere: moves, restores, missing data, rebalancing."""
