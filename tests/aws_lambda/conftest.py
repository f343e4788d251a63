"""Clients of AWS as the function makes them."""

from collections.abc import Callable
from typing import Any

import pytest

from aws_lambda.service import client
from tests.support.aws import environment
from tests.support.moto import MotoServer


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[[str], Any]]:
    """Return a factory of clients, as the function makes them, for the server at an address."""

    def at(url: str) -> Callable[[str], Any]:
        for name, value in environment(url).items():
            monkeypatch.setenv(name, value)
        return client

    return at


@pytest.fixture
def dynamodb(moto: MotoServer, aws: Any) -> Any:
    return aws(moto.url)("dynamodb")
