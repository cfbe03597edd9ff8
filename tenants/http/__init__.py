"""What the API and the pages share about requests: who asks, how often, what is refused, labels."""
