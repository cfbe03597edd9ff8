"""Who may see the operator's pages: operators. For everybody else they do not exist."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.http import Http404, HttpRequest, HttpResponseBase

from tenants.accounts.models import Member
from tenants.http import visitors

P = ParamSpec("P")


def for_operators(
    view: Callable[Concatenate[HttpRequest, Member, P], HttpResponseBase],
) -> Callable[..., HttpResponseBase]:
    """Give the view the operator; others get 404, and who is not logged in may log in."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        member = visitors.member_of(request)
        if member is None:
            return visitors.to_login(request)
        if not member.is_operator:
            raise Http404
        response = view(request, member, *args, **kwargs)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    return guarded
