"""The error codes, and how the operating system's numbers become them."""

from __future__ import annotations

import errno
import pickle
import socket

import pytest

from amqp10.errors import (
    ERROR_CODES,
    AMQPError,
    RemoteError,
    code_from_errno,
    code_from_gaierror,
    describe_code,
)


def test_every_code_has_a_distinct_place_and_a_meaning() -> None:
    assert len(ERROR_CODES) == 90
    for code, meaning in ERROR_CODES.items():
        assert meaning, code
        assert describe_code(code) == meaning


def test_a_number_that_is_no_code_has_no_meaning() -> None:
    assert describe_code(0) == ""


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("EINTR", 10004),
        ("EACCES", 10013),
        ("EMFILE", 10024),
        ("EAGAIN", 10035),
        ("EADDRINUSE", 10048),
        ("EADDRNOTAVAIL", 10049),
        ("ENETUNREACH", 10051),
        ("ECONNABORTED", 10053),
        ("ECONNRESET", 10054),
        ("EPIPE", 10054),
        ("ETIMEDOUT", 10060),
        ("ECONNREFUSED", 10061),
        ("EHOSTUNREACH", 10065),
        ("ENOENT", 302),
    ],
)
def test_system_error_numbers_map_to_the_documented_codes(name: str, code: int) -> None:
    assert code_from_errno(getattr(errno, name)) == code


def test_every_system_error_gives_a_code_of_the_table() -> None:
    for number in errno.errorcode:
        assert code_from_errno(number) in ERROR_CODES


def test_windows_socket_numbers_are_their_own_codes() -> None:
    assert code_from_errno(10061) == 10061


@pytest.mark.parametrize("number", [None, 0, -1, 99999])
def test_an_unknown_system_error_is_a_failure_of_the_network_system(number: int | None) -> None:
    assert code_from_errno(number) == 10091


def test_name_resolution_failures_are_told_apart() -> None:
    assert code_from_gaierror(socket.EAI_NONAME) == 11001
    assert code_from_gaierror(socket.EAI_AGAIN) == 11002
    assert code_from_gaierror(socket.EAI_FAIL) == 11003
    assert code_from_gaierror(getattr(socket, "EAI_NODATA", 11004)) == 11004
    assert code_from_gaierror(None) == 11003


def test_errors_survive_pickling_with_code_message_and_condition() -> None:
    for error in (
        AMQPError(600, "text", condition="amqp:not-found"),
        RemoteError("text", condition="amqp:internal-error"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert (copy.code, copy.message, copy.condition) == (error.code, error.message, error.condition)
        assert str(copy) == "[600] text"
