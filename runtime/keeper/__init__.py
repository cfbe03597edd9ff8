"""The keeper: one small process per host that parents containers and outlives the agent.

Only the standard library and this package's own rooms are imported here, and nothing is re-exported:
every module it loads is memory the host cannot sell.
"""
