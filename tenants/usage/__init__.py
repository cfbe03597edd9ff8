"""What instances used, as hosts report it and as people read it."""
