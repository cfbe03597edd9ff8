"""The door to the operating system: commands, files, trees, system calls."""
