// What programs on fe2o3-amqp do with a broker. Prints "NAME ok" or "NAME failed: ..." for each scenario.
//
//     peer amqp://HOST:PORT

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::{ReceiverSettleMode, SenderSettleMode};
use fe2o3_amqp::types::messaging::{Message, Modified, Outcome, Properties};
use fe2o3_amqp::types::primitives::{OrderedMap, Value};
use fe2o3_amqp::{Connection, Receiver, Sendable, Sender, Session};
use tokio::time::timeout;

type Done = Result<(), Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Done {
    let url = std::env::args().nth(1).ok_or("the URL of the broker is missing")?;
    let mut connection = Connection::open("fe2o3-amqp", url.as_str()).await?;
    let mut session = Session::begin(&mut connection).await?;
    report("queue", queue(&mut session)).await;
    report("order", order(&mut session)).await;
    report("outcomes", outcomes(&mut session)).await;
    report("settled", settled(&mut session)).await;
    report("second", second(&mut session)).await;
    report("credit", credit(&mut session)).await;
    report("maps", maps(&mut session)).await;
    report("large", large(&mut session)).await;
    report("resumed", resumed(&mut session)).await;
    session.end().await?;
    connection.close().await?;
    Ok(())
}

async fn report(name: &str, scenario: impl Future<Output = Done>) {
    match timeout(PATIENCE, scenario).await {
        Ok(Ok(())) => println!("{name} ok"),
        Ok(Err(error)) => println!("{name} failed: {}", format!("{error:?}").replace('\n', " ")),
        Err(_) => println!("{name} failed: nothing more happened"),
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Done {
    if found == expected {
        return Ok(());
    }
    Err(format!("expected {expected:?}, found {found:?}").into())
}

async fn send(session: &mut SessionHandle<()>, address: &str, texts: &[&str]) -> Done {
    let mut sender = Sender::attach(session, format!("to {address}"), address).await?;
    for text in texts {
        expect(sender.send(*text).await?.is_accepted(), true)?;
    }
    sender.close().await?;
    Ok(())
}

async fn queue(session: &mut SessionHandle<()>) -> Done {
    send(session, "rs.queue", &["a", "b", "c"]).await?;
    let mut receiver = Receiver::attach(session, "queue", "rs.queue").await?;
    for text in ["a", "b", "c"] {
        let delivery = receiver.recv::<String>().await?;
        expect(delivery.body().as_str(), text)?;
        receiver.accept(&delivery).await?;
    }
    receiver.close().await?;
    Ok(())
}

/// Many in flight, their outcomes awaited afterwards.
async fn order(session: &mut SessionHandle<()>) -> Done {
    let mut sender = Sender::attach(session, "order out", "rs.order").await?;
    let mut pending = Vec::new();
    for number in 0..1000i32 {
        pending.push(sender.send_batchable(number).await?);
    }
    for outcome in pending {
        expect(outcome.await?.is_accepted(), true)?;
    }
    sender.close().await?;
    let mut receiver = Receiver::attach(session, "order in", "rs.order").await?;
    for number in 0..1000i32 {
        let delivery = receiver.recv::<i32>().await?;
        expect(*delivery.body(), number)?;
        receiver.accept(&delivery).await?;
    }
    receiver.close().await?;
    Ok(())
}

async fn outcomes(session: &mut SessionHandle<()>) -> Done {
    send(session, "rs.outcomes", &["rejected", "released", "failed"]).await?;
    let mut receiver = Receiver::attach(session, "outcomes", "rs.outcomes").await?;
    let rejected = receiver.recv::<String>().await?;
    receiver.reject(&rejected, None).await?;
    let released = receiver.recv::<String>().await?;
    let failed = receiver.recv::<String>().await?;
    receiver.release(&released).await?;
    let modified = Modified { delivery_failed: Some(true), undeliverable_here: None, message_annotations: None };
    receiver.modify(&failed, modified).await?;
    let mut again = Vec::new();
    for _ in 0..2 {
        let delivery = receiver.recv::<String>().await?;
        let count = delivery.message().header.as_ref().map_or(0, |header| header.delivery_count);
        again.push((delivery.body().clone(), count));
        receiver.accept(&delivery).await?;
    }
    again.sort();
    expect(again, vec![("failed".to_string(), 1), ("released".to_string(), 0)])?;
    receiver.close().await?;
    Ok(())
}

async fn settled(session: &mut SessionHandle<()>) -> Done {
    let mut sender = Sender::builder()
        .name("settled out")
        .target("rs.settled")
        .sender_settle_mode(SenderSettleMode::Settled)
        .attach(session)
        .await?;
    sender.send("x").await?;
    sender.close().await?;
    let mut receiver = Receiver::builder()
        .name("settled in")
        .source("rs.settled")
        .sender_settle_mode(SenderSettleMode::Settled)
        .attach(session)
        .await?;
    expect(receiver.recv::<String>().await?.body().as_str(), "x")?;
    receiver.close().await?;
    Ok(())
}

async fn second(session: &mut SessionHandle<()>) -> Done {
    send(session, "rs.second", &["x"]).await?;
    let mut receiver = Receiver::builder()
        .name("second")
        .source("rs.second")
        .receiver_settle_mode(ReceiverSettleMode::Second)
        .attach(session)
        .await?;
    let delivery = receiver.recv::<String>().await?;
    receiver.accept(&delivery).await?;
    receiver.close().await?;
    Ok(())
}

/// One credit at a time, and the rest given back by a drain.
async fn credit(session: &mut SessionHandle<()>) -> Done {
    send(session, "rs.credit", &["1", "2"]).await?;
    let mut receiver = Receiver::builder()
        .name("credit")
        .source("rs.credit")
        .credit_mode(CreditMode::Manual)
        .attach(session)
        .await?;
    expect(timeout(Duration::from_millis(100), receiver.recv::<String>()).await.is_err(), true)?;
    receiver.set_credit(1).await?;
    let delivery = receiver.recv::<String>().await?;
    receiver.accept(&delivery).await?;
    receiver.set_credit(5).await?;
    let delivery = receiver.recv::<String>().await?;
    receiver.accept(&delivery).await?;
    receiver.drain().await?;
    receiver.close().await?;
    Ok(())
}

async fn maps(session: &mut SessionHandle<()>) -> Done {
    let mut sender = Sender::attach(session, "maps out", "rs.maps").await?;
    let mut map: OrderedMap<String, Value> = OrderedMap::new();
    map.insert("total".to_string(), Value::Int(12));
    map.insert("none".to_string(), Value::Null);
    map.insert("empty".to_string(), Value::List(Vec::new()));
    let message = Message::builder()
        .properties(Properties::builder().message_id("id-1".to_string()).subject("new").build())
        .value(map.clone())
        .build();
    expect(sender.send(Sendable::builder().message(message).build()).await?.is_accepted(), true)?;
    sender.close().await?;
    let mut receiver = Receiver::attach(session, "maps in", "rs.maps").await?;
    let delivery = receiver.recv::<OrderedMap<String, Value>>().await?;
    expect(delivery.body().clone(), map)?;
    let subject = delivery.message().properties.as_ref().and_then(|properties| properties.subject.clone());
    expect(subject, Some("new".to_string()))?;
    receiver.accept(&delivery).await?;
    receiver.close().await?;
    Ok(())
}

async fn large(session: &mut SessionHandle<()>) -> Done {
    let text = "x".repeat(10_000_000);
    let mut sender = Sender::attach(session, "large out", "rs.large").await?;
    expect(sender.send(text.clone()).await?.is_accepted(), true)?;
    sender.close().await?;
    let mut receiver = Receiver::attach(session, "large in", "rs.large").await?;
    let delivery = receiver.recv::<String>().await?;
    expect(delivery.body() == &text, true)?;
    receiver.accept(&delivery).await?;
    receiver.close().await?;
    Ok(())
}

/// A link that was detached, not closed, and is attached again.
async fn resumed(session: &mut SessionHandle<()>) -> Done {
    let sender = Sender::attach(session, "resumed", "rs.resumed").await?;
    let detached = sender.detach().await.map_err(|(_, error)| error)?;
    let mut sender = detached.resume().await.map_err(|error| error.kind)?;
    let outcome: Outcome = sender.send("again").await?;
    expect(outcome.is_accepted(), true)?;
    sender.close().await?;
    Ok(())
}
