"""Every setting, declared once. Standard library only: Debian's python3 reads it before there is a .venv."""
