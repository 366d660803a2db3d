"""What the tests of the client core have in common."""

from collections.abc import Iterator

import pytest

from tests.client.fake import FakeDriver


@pytest.fixture(autouse=True)
def _nothing_waits_on() -> Iterator[None]:
    """What a test leaves waiting ends with it. Collected later, it would be logged in the middle of another test."""
    yield
    for driver in list(FakeDriver.made):
        driver.abandon()
    FakeDriver.made.clear()
