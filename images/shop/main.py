"""Starts the shop: `python3 -I -S main.py`. Settings come from the environment, see shop/config.py."""

import sys

# Isolated mode (-I) leaves the program's own directory out; ahead of the library it is found first.
sys.path.insert(0, sys.argv[0].rpartition("/")[0] or ".")

from shop.run import main

sys.exit(main())
