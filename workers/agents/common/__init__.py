"""What the agents of hosts and edges share."""
