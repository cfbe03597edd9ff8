"""What makes a control plane, a further host or a host that joins: the same code for all, without Django.

The standard library alone: bin/ runs it with Debian's python3, before there is a .venv.
"""
