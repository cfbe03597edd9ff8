"""What bin/up refuses before it installs or changes anything."""
