"""How a keeper takes over from an earlier one, or becomes newer code."""
