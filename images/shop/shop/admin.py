from .messages import HttpError


def route(rest):
    raise HttpError(404)
