#!/usr/bin/env python3
"""Django's command line. Run it inside this Stoa's environment: bin/stoa-env manage.py COMMAND."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.base")
    execute_from_command_line(sys.argv)
