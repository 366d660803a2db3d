"""The examples of the documentation that name queues of RabbitMQ, run with RabbitMQ."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.interop.peers import RabbitMQ
from tests.test_docs import ADDRESS, PROGRAMS, URL, run_program

pytestmark = pytest.mark.interop

QUEUE = re.compile(r"/queues/([\w%.-]+)")
EXAMPLES = [
    pytest.param(text, id=block.name)
    for block, text in PROGRAMS
    if QUEUE.search(text) and (ADDRESS in text or URL in text)
]


def test_examples_for_rabbitmq_were_found() -> None:
    assert len(EXAMPLES) >= 12


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_run_with_rabbitmq(text: str, rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    host, port = rabbitmq.host, rabbitmq.port
    text = text.replace(ADDRESS, f'"{host}", {port}')
    text = text.replace(URL, f"amqp://{rabbitmq.user}:{rabbitmq.password}@{host}:{port}")
    text = re.sub(r'(user\W+)"guest"', rf'\1"{rabbitmq.user}"', text)
    text = re.sub(r'(password\W+)"guest"', rf'\1"{rabbitmq.password}"', text)
    queues = sorted({unquote(name) for name in QUEUE.findall(text)})
    for name in queues:
        rabbitmq.declare_queue(name)
    try:
        run_program(text, tmp_path)
    finally:
        for name in queues:
            rabbitmq.delete_queue(name)
