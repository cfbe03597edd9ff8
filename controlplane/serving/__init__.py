"""How gunicorn serves web and depot: a thread is given to a whole request only, never to a slow client."""
