"""What was measured, packed; and what it says about what comes."""
