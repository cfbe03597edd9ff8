"""Further hosts on this machine: bin/up --hosts N.

Each is a network namespace with an address on a bridge of ours. It has its own supervisor with a keeper and
an agent, its own state directory and store. A cgroup limits it to its capacity in the record. The control
plane, Redis and the edge stay where they are and answer at the bridge's address. No further host has a way
out of the machine.

VAR/hosts/NAME/settings has what a host is made of. By it each can be entered, stopped and cleaned alone:
bin/stoa-env --host NAME …
"""
