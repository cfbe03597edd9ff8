"""What has happened to instances."""
