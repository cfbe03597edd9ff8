"""The sign-up form as posted: every field is checked, so that people see all there is to mend at once.

The rules themselves are the service's (shops/signups.py), which checks them again as it writes.
"""

import re
import uuid
from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from tenants.accounts.models import Member
from tenants.errors import FieldError
from tenants.shops import signups
from tenants.shops.signups import LANGUAGES, SignUpForm

_TOKEN = re.compile(r"[0-9a-f]{32}")


class SignUpFields(forms.Form):
    """What the landing page posts. With a member logged in, e-mail and password are not asked for."""

    shop_name = forms.CharField(
        max_length=80,
        error_messages={
            "required": _("Give your shop a name."),
            "max_length": _("The name must have at most 80 characters."),
        },
    )
    slug = forms.CharField(
        max_length=200, error_messages={"required": _("Choose an address for your shop.")}
    )
    email = forms.EmailField(
        error_messages={
            "required": _("Enter your e-mail address; you log in with it."),
            "invalid": _("This does not look like an e-mail address, such as name@example.com."),
        }
    )
    password = forms.CharField(
        strip=False, max_length=200, error_messages={"required": _("Choose a password.")}
    )
    plan = forms.CharField(max_length=60, error_messages={"required": _("Choose a plan.")})
    language = forms.ChoiceField(choices=[(code, code) for code in LANGUAGES])
    form_token = forms.CharField(max_length=64, required=False)

    def __init__(self, data: Any, *, member: Member | None) -> None:
        super().__init__(data)
        if member is not None:
            del self.fields["email"]
            del self.fields["password"]

    def clean_slug(self) -> str:
        """Lower case; then whatever the service says of it."""
        slug = str(self.cleaned_data["slug"]).strip().lower()
        try:
            signups.check_slug(slug)
        except FieldError as error:
            raise ValidationError(str(error.message), code=error.code) from error
        return slug

    def clean_password(self) -> str:
        """Long enough, not common, not like the e-mail address."""
        password = str(self.cleaned_data["password"])
        validate_password(password, Member(email=self.cleaned_data.get("email", "")))
        return password

    def clean_form_token(self) -> str:
        """Return the token this rendering of the form was given; anything else counts as a new one."""
        token = str(self.cleaned_data["form_token"])
        return token if _TOKEN.fullmatch(token) else new_token()

    def asked(self) -> SignUpForm:
        """Return what the service needs, from checked fields."""
        given = self.cleaned_data
        return SignUpForm(
            slug=given["slug"],
            shop_name=given["shop_name"],
            email=given.get("email", ""),
            password=given.get("password", ""),
            plan_slug=given["plan"],
            language=given["language"],
        )


def new_token() -> str:
    """Return a token for one rendering of the form."""
    return uuid.uuid4().hex
