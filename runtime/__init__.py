"""The runtime core: images, containers, networks and routes of one machine, without any framework."""
