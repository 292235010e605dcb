"""What several test files need. All run on the shipped weights, and on pictures that the tests draw themselves."""

from pathlib import Path

import pytest

from stylizer.feedforward import Stylizer
from stylizer.settings import Settings

SHARED = Path(__file__).parents[2] / "shared"  # more to test with, where it is there


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings(device="cpu")


@pytest.fixture(scope="session")
def stylizer(settings) -> Stylizer:
    return Stylizer(settings=settings)


@pytest.fixture(scope="session")
def app(settings):
    from stylizer.web import create_app

    return create_app(settings)


@pytest.fixture
def client(app):
    return app.server.test_client()
