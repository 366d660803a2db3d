"""The rate limit, with a clock that the tests move."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from amqp10.net.rate import TokenBucket


class TestTokenBucket:
    def test_starts_with_little_so_that_the_first_second_keeps_the_limit(self) -> None:
        assert TokenBucket(1000, 0.0).available(0.0) <= 100

    def test_refills_at_the_rate(self) -> None:
        bucket = TokenBucket(1000, 0.0)
        bucket.spend(bucket.available(0.0))
        assert bucket.available(0.0) == 0
        assert bucket.available(0.1) == 100

    def test_silence_does_not_earn_an_unlimited_burst(self) -> None:
        bucket = TokenBucket(1000, 0.0)
        assert bucket.available(3600.0) <= 200

    def test_clock_that_goes_back_takes_nothing_away(self) -> None:
        bucket = TokenBucket(1000, 10.0)
        before = bucket.available(10.0)
        assert bucket.available(5.0) == before

    def test_ready_now_when_something_is_there(self) -> None:
        bucket = TokenBucket(1000, 0.0)
        assert bucket.ready_at(0.0, 1) == 0.0

    def test_waits_no_longer_than_what_is_wanted_takes(self) -> None:
        bucket = TokenBucket(1000, 0.0)
        bucket.spend(bucket.available(0.0))
        assert bucket.ready_at(0.0, 10) == 0.01
        assert bucket.ready_at(0.0, 1_000_000) == 0.05

    def test_one_byte_per_second(self) -> None:
        bucket = TokenBucket(1, 0.0)
        bucket.spend(bucket.available(0.0))
        assert bucket.ready_at(0.0, 5) == 1.0
        assert bucket.available(1.0) == 1

    @given(rate=st.integers(1, 10**9), wanted=st.integers(1, 10**7), start=st.floats(0, 1e6))
    def test_coming_on_time_always_finds_something(self, rate: int, wanted: int, start: float) -> None:
        bucket = TokenBucket(rate, start)
        now = start
        for _ in range(5):
            bucket.spend(min(wanted, bucket.available(now)))
            now = bucket.ready_at(now, wanted)
            assert bucket.available(now) >= 1

    @given(rate=st.integers(100, 10**6), size=st.integers(1, 10**5))
    def test_the_rate_is_reached_and_not_exceeded(self, rate: int, size: int) -> None:
        bucket = TokenBucket(rate, 0.0)
        now, left = 0.0, size
        while left:
            taken = min(left, bucket.available(now))
            bucket.spend(taken)
            left -= taken
            if left:
                now = bucket.ready_at(now, left)
        # The bucket starts with a twentieth of a second's worth, or one byte.
        slack = max(0.05, 1 / rate)
        assert size / rate - slack - 0.01 <= now <= size / rate + slack + 0.01
