"""What the modern API has to do, written once against the asyncio names.

``test_aio.py`` runs these as they are; ``test_blocking.py`` runs what ``scripts/generate_blocking.py`` makes of them.
"""

from __future__ import annotations

import socket
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

import amqp10
from amqp10 import (
    AMQPError,
    AMQPTimeoutError,
    AuthenticationError,
    ClosedError,
    ConnectionLostError,
    ConnectionState,
    LinkError,
    LinkRefusedError,
    Message,
    MessageRejectedError,
    Reconnect,
)
from amqp10.broker import Broker, Limits
from tests.modern.helpers_aio import BLOCKING, connect, fetch, outcome, pause, together, until

NOW = datetime(2126, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


async def body_five_lines_send_and_receive_a_message_with_all_its_fields(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        sent = Message(
            {"total": 12, "lines": [1, "two", None]},
            id=uuid.UUID(int=7),
            user_id="me",
            subject="new",
            correlation_id=5,
            content_type="application/x-thing",
            expires=NOW,
            created=NOW,
            group_id="g",
            group_sequence=3,
            durable=True,
            priority=7,
            ttl=60.0,
            properties={"traceparent": "00-1", "n": 3},
            annotations={"x-opt": "y"},
        )
        result = await connection.send("orders", sent)
        assert isinstance(result, amqp10.Accepted)
        async with connection.receiver("orders") as receiver:
            async for message in receiver:
                assert message.body == {"total": 12, "lines": [1, "two", None]}
                assert (message.id, message.user_id, message.subject) == (uuid.UUID(int=7), b"me", "new")
                assert (message.correlation_id, message.content_type) == (5, "application/x-thing")
                assert (message.expires, message.created) == (NOW, NOW)
                assert (message.group_id, message.group_sequence) == ("g", 3)
                assert (message.durable, message.priority) == (True, 7)
                assert dict(message.properties) == {"traceparent": "00-1", "n": 3}
                assert message.annotations["x-opt"] == "y"
                assert message.accept()
                assert not message.accept()
                break
        await until(lambda: broker.queue_length("orders") == 0)


async def body_bodies_of_every_kind_arrive_as_they_were_sent(broker: Broker) -> None:
    async with connect(broker.url) as connection, connection.receiver("q") as receiver:
        for message, body in (
            (b"bytes", b"bytes"),
            ("text", "text"),
            (None, None),
            (Message.of_value(b"bytes as a value"), b"bytes as a value"),
            (Message.of_data([b"a", b"b"]), b"ab"),
            (Message.of_sequence([[1, 2], [3]]), [1, 2, 3]),
        ):
            await connection.send("q", message)
            received = await receiver.receive(timeout=10)
            assert received.body == body
            received.accept()


async def body_submitted_messages_have_their_outcomes_and_callbacks(broker: Broker) -> None:
    async with connect(broker.url) as connection, connection.sender("q") as sender:
        done: list[Any] = []
        deliveries = [await sender.submit(n) for n in range(500)]
        for delivery in deliveries:
            delivery.add_done_callback(done.append)
        await sender.flush()
        assert all(isinstance(delivery.outcome, amqp10.Accepted) for delivery in deliveries)
        assert isinstance(await outcome(deliveries[0]), amqp10.Accepted)
        await until(lambda: len(done) == 500)
        assert sender.unsettled == 0
        assert broker.queue_length("q") == 500


async def body_send_many_sends_in_order_and_gives_every_outcome(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        sender = await connection.sender("q")
        outcomes = await sender.send_many(range(3000))
        assert len(outcomes) == 3000
        async with connection.receiver("q", prefetch=1000) as receiver:
            got: list[Any] = []
            while len(got) < 3000:
                messages = await receiver.receive_many(100)
                assert 1 <= len(messages) <= 100
                assert receiver.accept_all(messages) == len(messages)
                got += [message.body for message in messages]
            assert got == list(range(3000))
        await until(lambda: broker.queue_length("q") == 0)


async def body_messages_are_settled_in_any_order(broker: Broker) -> None:
    async with connect(broker.url) as connection, connection.receiver("q", prefetch=10) as receiver:
        await (await connection.sender("q")).send_many(range(30))
        seen: list[Any] = []
        held: list[Any] = []
        while len(seen) < 30:
            held.append(await receiver.receive(timeout=10))
            if len(held) == 7 or len(seen) + len(held) == 30:
                for message in reversed(held):
                    assert message.accept()
                    seen.append(message.body)
                held.clear()
        assert sorted(seen) == list(range(30))
        await until(lambda: broker.queue_length("q") == 0)


async def body_released_modified_and_rejected_messages_do_what_they_say(broker: Broker) -> None:
    async with connect(broker.url) as connection, connection.receiver("q", prefetch=1) as receiver:
        await connection.send("q", "x")
        first = await receiver.receive(timeout=10)
        assert first.delivery_count == 0
        first.release()
        second = await receiver.receive(timeout=10)
        assert second.body == "x"
        second.modify(delivery_failed=True, annotations={"x-opt-why": "tried"})
        third = await receiver.receive(timeout=10)
        third.reject("app:bad", "no good")
        with pytest.raises(AMQPTimeoutError):
            await receiver.receive(timeout=0.05)


async def body_receive_without_a_message_times_out_and_loses_none(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        for prefetch in (0, 5):
            async with connection.receiver("q", prefetch=prefetch) as receiver:
                with pytest.raises(AMQPTimeoutError):
                    await receiver.receive(timeout=0.05)
                await connection.send("q", "late")
                message = await receiver.receive(timeout=10)
                assert message.body == "late"
                message.accept()


async def body_manual_credit_drain_and_pause(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        await (await connection.sender("q")).send_many(range(10))
        async with connection.receiver("q", prefetch=0) as receiver:
            receiver.add_credit(4)
            messages = await fetch(receiver, 4)
            assert [message.body for message in messages] == [0, 1, 2, 3]
            receiver.accept_all(messages)
            receiver.add_credit(100)
            messages = await fetch(receiver, 6)
            assert await receiver.drain() == 94
            receiver.accept_all(messages)
        async with connection.receiver("q", prefetch=4) as receiver:
            receiver.pause()
            await (await connection.sender("q")).send_many(range(4))
            messages = await fetch(receiver, 4)
            receiver.accept_all(messages)
            assert receiver.credit == 0
            receiver.resume()
            await until(lambda: receiver.credit == 4)


async def body_iteration_ends_when_the_receiver_is_closed(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        receiver = await connection.receiver("q")
        got: list[Any] = []

        async def consume() -> None:
            async for message in receiver:
                got.append(message.body)
                message.accept()

        async def close() -> None:
            await connection.send("q", 1)
            await until(lambda: got == [1])
            await receiver.close()

        await together(consume, close)
        with pytest.raises(ClosedError):
            await receiver.receive(timeout=1)


async def body_automatic_acceptance_accepts_when_the_next_message_is_asked_for(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        await (await connection.sender("q")).send_many(range(3))
        async with connection.receiver("q", accept="auto") as receiver:
            await fetch(receiver, 2)
        # The second was never followed by a third: it goes back.
        await until(lambda: broker.queue_length("q") == 2)


async def body_messages_sent_settled_need_no_accepting(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        sender = await connection.sender("q")
        for n in range(10):
            await sender.send(n, settled=True)
        async with connection.receiver("q", accept="none", prefetch=2) as receiver:
            messages = await fetch(receiver, 10)
            assert [message.body for message in messages] == list(range(10))
            assert messages[0].accept()


async def body_a_rejected_message_is_raised(broker: Broker) -> None:
    with Broker(max_queue_length=1) as small:
        async with connect(small.url) as connection:
            await connection.send("q", 1)
            with pytest.raises(MessageRejectedError) as raised:
                await connection.send("q", 2)
            assert raised.value.condition == "amqp:resource-limit-exceeded"
            sender = await connection.sender("q")
            with pytest.raises(MessageRejectedError):
                await sender.send_many(range(3))


async def body_a_refused_link_is_raised_and_the_connection_lives(broker: Broker) -> None:
    with Broker(refuse=["secret"]) as strict:
        async with connect(strict.url) as connection:
            with pytest.raises(LinkRefusedError):
                await connection.sender("secret")
            with pytest.raises(LinkError):
                await connection.receiver("secret")
            assert isinstance(await connection.send("q", 1), amqp10.Accepted)


async def body_requests_find_their_responses(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        receiver = await connection.receiver("rpc", prefetch=500)
        replies = await connection.sender()

        async def respond() -> None:
            async for request in receiver:
                answer = Message(request.body * 2, to=request.reply_to, correlation_id=request.correlation_id)
                await connection.send(request.reply_to, answer)
                request.accept()

        async def ask() -> None:
            for n in range(20):
                response = await connection.request("rpc", n, timeout=10)
                assert response.body == n * 2
            with pytest.raises(AMQPTimeoutError):
                await connection.request("nobody", 1, timeout=0.05)
            await receiver.close()

        await replies.close()
        await together(respond, ask)


async def body_responses_come_to_the_queue_that_a_request_names(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        receiver = await connection.receiver("rpc", prefetch=500)
        seen: list[Any] = []

        async def respond() -> None:
            async for request in receiver:
                seen.append(request.reply_to)
                await connection.send(request.reply_to, Message(-request.body, correlation_id=request.correlation_id))
                request.accept()

        async def ask() -> None:
            for n in range(5):
                assert (await connection.request("rpc", n, timeout=10, reply_to="mine")).body == -n
                assert (await connection.request("rpc", n, timeout=10)).body == -n
            await receiver.close()

        await together(respond, ask)
        assert seen[::2] == ["mine"] * 5
        assert "mine" not in seen[1::2]


async def body_dynamic_nodes_have_an_address(broker: Broker) -> None:
    async with connect(broker.url) as connection, connection.receiver(dynamic=True) as receiver:
        assert receiver.address
        await connection.send(receiver.address, "hello")
        assert (await receiver.receive(timeout=10)).body == "hello"


async def body_a_lost_connection_comes_back_with_everything_on_it(broker: Broker) -> None:
    changes: list[Any] = []
    async with connect(broker.url, on_state=changes.append) as connection:
        sender = await connection.sender("q")
        receiver = await connection.receiver("q")
        got: list[Any] = []
        for n in range(5):
            await sender.send(n)
            while n not in got:
                message = await receiver.receive(timeout=10)
                got.append(message.body)
                message.accept()
            await until(lambda: connection.state is ConnectionState.OPEN)
            broker.kill_connections()
            expected = n + 1
            await until(lambda: [change.state for change in changes].count(ConnectionState.LOST) == expected)  # noqa: B023
        await until(lambda: connection.state is ConnectionState.OPEN)
        assert list(dict.fromkeys(got)) == list(range(5))
        assert isinstance(await sender.send("end"), amqp10.Accepted)
    await until(lambda: bool(changes) and changes[-1].state is ConnectionState.CLOSED)
    assert ConnectionState.OPEN in {change.state for change in changes}


async def body_nothing_is_lost_while_the_connection_is_cut_again_and_again(broker: Broker) -> None:
    count = 400
    changes: list[Any] = []
    async with connect(broker.url, on_state=changes.append) as connection:
        sender = await connection.sender("q")
        receiver = await connection.receiver("q", prefetch=50)
        got: list[Any] = []
        finished: list[Any] = []

        async def produce() -> None:
            deliveries = [await sender.submit(n) for n in range(count)]
            for delivery in deliveries:
                await outcome(delivery)
            finished.append(True)

        async def consume() -> None:
            while set(got) != set(range(count)):
                message = await receiver.receive(timeout=20)
                if message.accept():
                    got.append(message.body)

        async def cut() -> None:
            for _ in range(8):
                await pause()
                broker.kill_connections()
                await until(lambda: connection.state is ConnectionState.OPEN)

        await together(produce, consume, cut)
        assert finished
        assert set(got) == set(range(count))


async def body_messages_wait_while_the_broker_is_away(broker: Broker) -> None:
    async with connect(broker.url, reconnect=Reconnect(max_delay=0.05)) as connection:
        sender = await connection.sender("q")
        await sender.send(1)
        broker.stop()
        await until(lambda: connection.state is not ConnectionState.OPEN)

        async def send() -> None:
            await sender.send(2, timeout=20)

        async def restart() -> None:
            await pause()
            broker.start()

        await together(send, restart)
        assert broker.queue_length("q") == 2


async def body_a_policy_that_gives_up_fails_what_waits(broker: Broker) -> None:
    policy = Reconnect(initial_delay=0.01, max_attempts=2)
    connection = await connect(broker.url, reconnect=policy)
    receiver = await connection.receiver("q")
    broker.stop()
    with pytest.raises(ConnectionLostError) as lost:
        await receiver.receive(timeout=20)
    assert lost.value.__cause__ is not None
    assert connection.state is ConnectionState.FAILED
    with pytest.raises(ConnectionLostError):
        await connection.sender("q")
    await connection.close()


async def body_without_reconnecting_a_loss_is_final(broker: Broker) -> None:
    connection = await connect(broker.url, reconnect=None)
    sender = await connection.sender("q")
    broker.kill_connections()
    await until(lambda: connection.state is ConnectionState.FAILED)
    with pytest.raises(ConnectionLostError) as lost:
        await sender.send(1)
    assert lost.value.sent is False
    await connection.close()


async def body_a_dead_server_in_the_list_is_passed_over(broker: Broker) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"amqp://127.0.0.1:{taken.getsockname()[1]}"
        async with connect([dead, broker.url], timeout=10) as connection:
            assert connection.url == broker.url
            broker.kill_connections()
            assert isinstance(await connection.send("q", 1), amqp10.Accepted)


async def body_connecting_is_bounded_by_its_time_out(broker: Broker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(AMQPTimeoutError):
            await connect(url, timeout=0.2)


async def body_a_wrong_password_is_not_tried_for_ever(broker: Broker) -> None:
    with Broker(users={"me": "right"}, limits=Limits(login_pause=0)) as strict:
        with pytest.raises(AuthenticationError):
            await connect(strict.url, user="me", password="wrong", timeout=10)
        url = strict.url.replace("amqp://", "amqp://me:right@")
        async with connect(url) as connection:
            assert "right" not in connection.url
            assert "right" not in repr(connection)


async def body_a_token_is_fetched_for_each_attempt(broker: Broker) -> None:
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        return "t0k3n"

    with Broker(users={"me": "t0k3n"}) as strict:
        async with connect(strict.url, user="me", token=token) as connection:
            await connection.send("q", 1)
            strict.kill_connections()
            await connection.send("q", 2)
            assert "t0k3n" not in repr(connection._core.options)
    assert len(asked) == 2


async def body_a_message_that_times_out_in_the_queue_is_never_sent(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        receiver = await connection.receiver(dynamic=True)
        sender = await connection.sender("q", max_unsettled=1)
        del receiver
        while sender.credit == 0:
            await pause()
        first = await sender.submit(1, settled=False)
        await outcome(first)
        assert (await sender.submit(2)).message_id is None
        await sender.flush()
        assert broker.queue_length("q") == 2


async def body_trying_to_submit_says_no_instead_of_waiting(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        sender = await connection.sender("q", max_unsettled=3)
        await until(lambda: sender.credit > 3)
        deliveries = [sender.try_submit(n) for n in range(10)]
        assert [delivery is not None for delivery in deliveries[:3]] == [True] * 3
        await sender.flush()


async def body_a_message_that_is_too_large_is_refused_before_it_is_sent(broker: Broker) -> None:
    with Broker(max_message_size=1000) as small:
        async with connect(small.url) as connection:
            sender = await connection.sender("q")
            assert sender.max_message_size == 1000
            with pytest.raises(AMQPError, match="at most 1000"):
                await sender.send("x" * 2000)
            await sender.send("x")
            assert sender.unsettled == 0


async def body_large_messages_travel_whole_in_both_directions(broker: Broker) -> None:
    async with connect(broker.url, max_frame_size=4096) as connection:
        body = bytes(range(256)) * 8000
        await connection.send("q", body)
        async with connection.receiver("q") as receiver:
            message = await receiver.receive(timeout=20)
            assert message.body == body
            message.accept()


async def body_sessions_have_links_of_their_own(broker: Broker) -> None:
    async with connect(broker.url) as connection, connection.session(incoming_window=10) as session:
        async with session.sender("q") as sender, session.receiver("q", prefetch=300) as receiver:
            await sender.send_many(range(200))
            messages = await fetch(receiver, 200)
            assert receiver.accept_all(messages) == 200
        broker.kill_connections()
        async with session.sender("q") as sender:
            await sender.send(1)


async def body_closing_sends_what_was_submitted(broker: Broker) -> None:
    connection = await connect(broker.url)
    sender = await connection.sender("q")
    for n in range(100):
        await sender.submit(n, settled=n % 2 == 0)
    await connection.close()
    assert connection.state is ConnectionState.CLOSED
    assert broker.queue_length("q") == 100
    with pytest.raises(ClosedError):
        await sender.send("late")
    with pytest.raises(ClosedError):
        await connection.sender("q")
    await connection.close()


async def body_state_changes_can_be_iterated(broker: Broker) -> None:
    async with connect(broker.url) as connection:
        seen: list[Any] = []

        async def watch() -> None:
            async for change in connection.changes():
                seen.append(change.state)

        async def lose() -> None:
            await pause()
            broker.kill_connections()
            await until(lambda: ConnectionState.OPEN in seen)
            await connection.close()

        await together(watch, lose)
        assert seen[0] is ConnectionState.LOST
        assert seen[-1] is ConnectionState.CLOSED


async def body_the_server_says_who_it_is(broker: Broker) -> None:
    async with connect(broker.url, container_id="me") as connection:
        there = connection.remote
        assert there.container_id
        assert there.max_frame_size > 0
        broker.stop()
        await until(lambda: connection.state is not ConnectionState.OPEN)
        assert connection.remote.container_id is None
        await connection.close()


async def body_many_senders_and_receivers_share_one_link_each(broker: Broker) -> None:
    many, each = (50, 20) if BLOCKING else (200, 5)
    async with connect(broker.url) as connection:
        sender = await connection.sender("q")
        receiver = await connection.receiver("q", prefetch=100)
        got: list[Any] = []

        def produce(number: int) -> Any:
            async def work() -> None:
                for n in range(each):
                    await sender.send((number, n))

            return work

        def consume() -> Any:
            async def work() -> None:
                for _ in range(each):
                    message = await receiver.receive(timeout=30)
                    got.append(tuple(message.body))
                    message.accept()

            return work

        await together(*[produce(n) for n in range(many)], *[consume() for _ in range(many)])
        assert len(got) == many * each
        assert len(set(got)) == many * each
        await until(lambda: broker.queue_length("q") == 0)


async def body_arguments_that_cannot_be_are_told(broker: Broker) -> None:
    misspelt: Any = {"prefech": 1}
    unknown: Any = {"settle": "maybe"}
    with pytest.raises(ValueError, match="scheme"):
        await connect("localhost")
    with pytest.raises(ValueError, match="amqp"):
        await connect("http://localhost")
    async with connect(broker.url) as connection:
        with pytest.raises(TypeError, match="prefetch"):
            await connection.receiver("q", **misspelt)
        with pytest.raises(ValueError, match="settle"):
            await connection.sender("q", **unknown)
        with pytest.raises(ValueError, match="dynamic"):
            await connection.receiver()
        receiver = await connection.receiver("q")
        with pytest.raises(AMQPTimeoutError):
            await receiver.receive(timeout=0)
