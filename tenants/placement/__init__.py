"""Room on hosts: bookings, placements, ports, routes, shortages."""
