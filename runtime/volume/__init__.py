"""What becomes of a tenant's data when its host does not live as long as the tenant.

A volume's state is put away off the host as archives: a full one, then differences to it. Who may
fetch or put one is decided elsewhere; a host is given addresses and checks what comes by its sha256.
"""
