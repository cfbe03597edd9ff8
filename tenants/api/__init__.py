"""The REST API for programs: /api/v1/, its OpenAPI description, and what edges fetch over HTTP."""
