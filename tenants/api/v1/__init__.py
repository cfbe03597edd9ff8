"""/api/v1/: one file of views, bodies and requests per subject."""
