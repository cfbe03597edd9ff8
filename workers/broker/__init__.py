"""The broker: names of queues, the connection, users and their bounds."""
