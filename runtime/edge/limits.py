"""What a request or an answer may have at most. docs/operating.md has the same figures in a table.

What stands behind the edge (gunicorn's options, Django, the shop of images/shop) takes at least as much,
so that the edge refuses, with a page.
"""

from runtime.units import KIB

URL_BYTES = 8_000
HEAD_BYTES = 32_768  # all header lines together, of a request or of an answer
HEAD_LINES = 200
PLATFORM_BODY_BYTES = 64 * KIB  # console and API; a shop's own program decides for itself

HEAD_SECONDS = 10
BODY_SECONDS = 20  # for a body that is collected before anybody is asked
IDLE_SECONDS = 15  # kept open between two requests
PAUSE_SECONDS = 45  # a visitor who neither sends nor takes anything of what is under way

# HAProxy's buffer holds the whole head and, for the platform's pages, the whole body; the rest is what
# HAProxy needs to rewrite a head. It takes some more lines than HEAD_LINES, so that a page can say no.
REWRITE_BYTES = 4 * KIB
BUFFER_BYTES = 112 * KIB
PARSED_LINES = 2_000
