"""The argument ``tls`` of ``connect()``, as a function that makes sessions.

Modules are imported only when they are needed: plain connections do not need OpenSSL.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import ssl

    from amqp10.net.network import SecureSession
    from amqp10.net.tls.options import TlsOptions

__all__ = ["SessionMaker", "TlsChoice", "given_options", "session_maker"]

TlsChoice: TypeAlias = "ssl.SSLContext | TlsOptions | str | os.PathLike[str]"
SessionMaker: TypeAlias = "Callable[[str], SecureSession]"


def given_options(tls: TlsChoice | None) -> TlsOptions | None:
    """The settings of this package, if they are what was chosen."""
    if tls is None or isinstance(tls, (str, os.PathLike)):
        return None
    from amqp10.net.tls.options import TlsOptions  # whoever has some has imported it

    return tls if isinstance(tls, TlsOptions) else None


def session_maker(tls: TlsChoice | None) -> SessionMaker:
    """The function that makes the TLS session of each connection, given the host name.

    Args:
        tls: a context of the standard library; the settings of this package; the file or folder of the CA certificates
            to trust instead of the system's; None for ``ssl.create_default_context()``.

    Raises:
        ValueError: there are no CA certificates at that path.
        AMQPError: 606 and others, invalid settings.
        TypeError: it is none of these.
    """
    given = given_options(tls)
    if given is not None:
        from amqp10.net.tls.session import TlsContext, TlsSession

        return partial(TlsSession, TlsContext(given))
    import ssl

    from amqp10.net.tls.stdlib import StdlibSession

    if tls is None:
        return partial(StdlibSession, ssl.create_default_context())
    if isinstance(tls, ssl.SSLContext):
        return partial(StdlibSession, tls)
    if not isinstance(tls, (str, os.PathLike)):
        raise TypeError(f"tls is an ssl.SSLContext, TlsOptions or a path, not {type(tls).__name__}")
    path = os.fspath(tls)
    try:
        if Path(path).is_dir():
            context = ssl.create_default_context(capath=path)
        else:
            context = ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"no CA certificates can be read from {path!r}: {error}") from error
    return partial(StdlibSession, context)
