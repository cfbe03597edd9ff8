"""Programs under supervisord: its configuration, what it is asked, and what its programs are made from."""
