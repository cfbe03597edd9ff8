"""Builds the images tenants run: from Debian packages and Dockerfiles to OCI layouts, no registry.

Plain standard library on purpose: `bin/up` calls it before anything is installed from PyPI.
"""
