"""Further hosts on this machine: bin/up --hosts N.

Each is a network namespace with an address of its own on a bridge of ours, a supervisor of its own with a
keeper and an agent, a state directory and a store of its own, and a cgroup with limits that its capacity in
the record agrees with. The control plane, Redis and the edge stay where they are and answer at the bridge's
address. No further host has a way out of the machine.

VAR/hosts/NAME/settings has what a host is made of. By it each can be entered, stopped and cleaned alone:
bin/stoa-env --host NAME …
"""
