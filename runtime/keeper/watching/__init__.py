"""What the keeper looks at while instances run, and what it mends."""
