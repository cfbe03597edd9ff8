"""Clients of the API: the operator's program, a member's program, another member's, and nobody."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from tenants.accounts import tokens
from tenants.accounts.models import Member
from tests.factories import make_catalogue, make_member
from tests.tenants.api import described


@dataclass
class Program:
    """A program that talks JSON to /api/v1."""

    client: Client
    text: str = ""

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The response, held against the description; a body that is not text is sent as JSON."""
        sent = body if isinstance(body, str) else json.dumps(body) if body is not None else ""
        if self.text:
            headers.setdefault("Authorization", f"Bearer {self.text}")
        address = path if path.startswith("/") else f"/api/v1/{path}"
        answer = self.client.generic(
            method,
            address,
            sent,
            content_type=headers.pop("content_type", "application/json"),
            headers=headers,
        )
        assert described.faults(method, address, answer.status_code, answer.content) == []
        return answer

    def get(self, path: str, **headers: str) -> Any:
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.call("POST", path, body, **headers)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)

    def sign_up(self, slug: str = "acme", **fields: Any) -> Any:
        return self.post("tenants", {"slug": slug, "shop_name": "Acme"} | fields)


def _program(text: str = "") -> Program:
    return Program(Client(raise_request_exception=False), text)


@pytest.fixture
def operator(db: None) -> Program:
    """A program with an operator's token, and a catalogue to buy from."""
    make_catalogue()
    return _program(tokens.create("operator", is_operator=True).text)


@pytest.fixture
def alice(operator: Program) -> Member:
    """A merchant."""
    return make_member("alice@example.com")


@pytest.fixture
def alices(alice: Member) -> Program:
    """Alice's program."""
    return _program(tokens.create("alice", member=alice).text)


@pytest.fixture
def bobs(operator: Program) -> Program:
    """The program of another merchant."""
    return _program(tokens.create("bob", member=make_member("bob@example.com")).text)


@pytest.fixture
def nobody(operator: Program) -> Program:
    """A program without a token."""
    return _program()
