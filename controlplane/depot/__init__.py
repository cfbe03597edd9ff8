"""The program `depot`: what agents fetch and bring, over TLS."""
