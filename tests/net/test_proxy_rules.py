"""Which hosts are excepted from the proxy, and what the environment says."""

from __future__ import annotations

import pytest

from amqp10.errors import AMQPError
from amqp10.net.proxy.environment import detect_proxy
from amqp10.net.proxy.options import ProxyKind, ProxyOptions
from amqp10.net.proxy.rules import host_is_listed


class TestExceptions:
    @pytest.mark.parametrize(
        ("exceptions", "host", "excepted"),
        [
            ("www.example.com;mq.example.com", "mq.example.com", True),
            ("www.example.com; MQ.example.com ;", "mq.EXAMPLE.com.", True),
            ("example.com", "mq.example.com", False),
            ("example.com", "notexample.com", False),
            (".example.com", "mq.example.com", True),
            (".example.com", "example.com", False),
            ("*.example.com", "a.b.example.com", True),
            ("*.example.com", "example.com", False),
            ("*.example.com", "a.example.community", False),
            ("mq?.example.com", "mq1.example.com", False),
            ("[a-z].example.com", "a.example.com", False),
            ("mq*", "mq7", True),
            ("*", "anything", True),
            ("192.0.2.7", "192.0.2.7", True),
            ("192.0.2.7", "192.0.2.70", False),
            ("192.0.2.0/24", "192.0.2.200", True),
            ("192.0.2.0/24", "192.0.3.1", False),
            ("192.0.2.*", "192.0.2.9", True),
            ("2001:db8::/32", "2001:db8::1", True),
            ("2001:DB8:0::1", "2001:db8::1", True),
            ("[2001:db8::1]:5672", "2001:db8::1", True),
            ("[2001:db8::1]:5671", "2001:db8::1", False),
            ("2001:db8::/32", "192.0.2.1", False),
            ("mq.example.com:5672", "mq.example.com", True),
            ("mq.example.com:5671", "mq.example.com", False),
            ("mq.example.com:x", "mq.example.com", False),
            ("", "mq.example.com", False),
            (" ; ;", "mq.example.com", False),
            ("Bücher.test", "xn--bcher-kva.test", True),
            ("xn--bcher-kva.test", "bücher.test", True),
            ("*.bücher.test", "a.bücher.test", True),
            ("ü..test", "a.test", False),
        ],
    )
    def test_list(self, exceptions: str, host: str, excepted: bool) -> None:
        options = ProxyOptions(ProxyKind.TUNNEL, "proxy", exceptions=exceptions)
        assert options.excepts(host, 5672) is excepted

    def test_plain_names_include_subdomains_only_when_asked(self) -> None:
        assert host_is_listed(["example.com"], "a.example.com", 1, subdomains=True)
        assert host_is_listed(["example.com"], "example.com", 1, subdomains=True)
        assert host_is_listed([".example.com"], "example.com", 1, subdomains=True)
        assert not host_is_listed(["example.com"], "notexample.com", 1, subdomains=True)


class TestDetection:
    def detect(self, host: str = "mq.example.com", **environ: str) -> ProxyOptions | None:
        return detect_proxy(host, 5672, environ)

    def test_nothing_set(self) -> None:
        assert self.detect() is None
        assert self.detect(all_proxy="", http_proxy=" ") is None

    @pytest.mark.parametrize(
        ("value", "kind", "port", "remote_dns"),
        [
            ("http://proxy.example:3128", ProxyKind.TUNNEL, 3128, False),
            ("proxy.example:3128", ProxyKind.TUNNEL, 3128, False),
            ("proxy.example", ProxyKind.TUNNEL, 0, False),
            ("http://proxy.example/", ProxyKind.TUNNEL, 0, False),
            ("socks4://proxy.example", ProxyKind.SOCKS4, 0, False),
            ("socks4a://proxy.example:1081", ProxyKind.SOCKS4A, 1081, False),
            ("socks://proxy.example", ProxyKind.SOCKS5, 0, False),
            ("socks5://proxy.example", ProxyKind.SOCKS5, 0, False),
            ("SOCKS5H://proxy.example", ProxyKind.SOCKS5, 0, True),
        ],
    )
    def test_values(self, value: str, kind: ProxyKind, port: int, remote_dns: bool) -> None:
        assert self.detect(all_proxy=value) == ProxyOptions(kind, "proxy.example", port, remote_dns=remote_dns)

    def test_credentials_are_unquoted(self) -> None:
        found = self.detect(all_proxy="http://us%40er:p%3Aw@proxy.example")
        assert found is not None
        assert (found.user, found.password) == ("us@er", "p:w")

    def test_ipv6_proxy(self) -> None:
        found = self.detect(all_proxy="http://[2001:db8::1]:3128")
        assert found is not None
        assert (found.host, found.port) == ("2001:db8::1", 3128)

    def test_order_of_the_variables(self) -> None:
        environ = {
            name: f"http://{name.replace('_', '-')}"
            for name in ("all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY")
        }
        for name in list(environ):
            found = detect_proxy("mq.example.com", 5672, environ)
            assert found is not None
            assert found.host == name.replace("_", "-").lower()
            del environ[name]
        assert detect_proxy("mq.example.com", 5672, environ) is None

    def test_header_of_a_cgi_request_is_not_believed(self) -> None:
        assert self.detect(HTTP_PROXY="http://evil.example", REQUEST_METHOD="GET") is None
        assert self.detect(http_proxy="http://good.example", REQUEST_METHOD="GET") is not None

    @pytest.mark.parametrize(
        "host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.8.8.8", "::1", "[::1]", "*localhost"]
    )
    def test_this_machine_is_reached_directly(self, host: str) -> None:
        assert self.detect(host, all_proxy="http://proxy.example") is None

    @pytest.mark.parametrize(
        ("no_proxy", "excepted"),
        [
            ("*", True),
            ("example.com", True),
            (".example.com", True),
            ("other.example, mq.example.com:5672", True),
            ("other.example mq.example.com", True),
            ("EXAMPLE.com.", True),
            ("mq.example.com:5671", False),
            ("ample.com", False),
            ("", False),
        ],
    )
    def test_no_proxy(self, no_proxy: str, excepted: bool) -> None:
        assert (self.detect(all_proxy="http://p", no_proxy=no_proxy) is None) is excepted
        assert (self.detect(all_proxy="http://p", NO_PROXY=no_proxy) is None) is excepted
        assert (self.detect("*mq.example.com", all_proxy="http://p", NO_PROXY=no_proxy) is None) is excepted

    @pytest.mark.parametrize(
        "value",
        ["https://u:hunter2@proxy", "ftp://u:hunter2@proxy", "http://u:hunter2@", "http://u:hunter2@p:x", "://"],
    )
    def test_value_that_cannot_be_used_is_an_error_without_the_password(self, value: str) -> None:
        with pytest.raises(AMQPError) as caught:
            self.detect(all_proxy=value)
        assert caught.value.code == 604
        assert "all_proxy" in caught.value.message
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_the_process_environment_is_the_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("all_proxy", "socks5://proxy.example")
        assert detect_proxy("mq.example.com", 5672) == ProxyOptions(ProxyKind.SOCKS5, "proxy.example")
