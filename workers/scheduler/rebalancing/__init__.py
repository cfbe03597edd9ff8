"""Plans of moves that make a pool better."""
