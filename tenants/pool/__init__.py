"""Hosts and edges: how they join, whether they answer, how they are emptied and leave."""
