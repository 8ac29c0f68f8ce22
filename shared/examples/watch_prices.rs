//! The ledger of orders needs prices. While they are late it is delivered nothing, and goes on when they
//! have come further than the orders.
//!
//! `watch_prices STORE WITHIN`, such as `watch_prices sqlite:shop.db 2s`: prices may be so far behind
//! orders. It runs until it is stopped, and goes on from there when it is started again.
//! `scripts/demo streams` shows it at work.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it says what it finds")]

use std::env;
use std::error::Error;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bulkhead_shared::backend::{self, Missing, Options};
use bulkhead_shared::checkpoint::{Checkpoint, Delivery, Dependency, marker_of};
use bulkhead_shared::stream::keep::Streams;
use bulkhead_shared::units::duration;
use bulkhead_shared::{StreamName, TaskName, Timestamp};

/// Between looks.
const EVERY: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [store, within] = &arguments[..] else {
        return Err("usage: watch_prices STORE WITHIN (such as sqlite:shop.db 2s)".into());
    };
    let within = duration(within)?;
    let backend = backend::open(&Options {
        missing: Missing::Refuse,
        ..Options::new(store)
    })?;
    let orders = StreamName::new("orders")?;
    let prices = StreamName::new("prices")?;
    let ledger = Delivery::new(
        Arc::clone(&backend.streams),
        orders.clone(),
        Some(TaskName::new("ledger")?),
        "prices are late",
    );
    let mut checkpoint = Checkpoint::builder("ledger")
        .dependency(Dependency::within("prices", within))
        .store(Arc::clone(&backend.checkpoints))
        .dependent(ledger)
        .downtime_callback(|_, prices| {
            println!("{} are down; the ledger is paused", prices.name());
            Ok(())
        })
        .recovery_callback(|_, prices| {
            println!("{} have caught up; the ledger goes on", prices.name());
            // Whoever corrects what was written with old prices begins there.
            let since = prices.checkpoint_state().get("orders");
            if let Some(since) = since.and_then(|since| since.as_str()) {
                println!("orders after {since} had old prices");
            }
            Ok(())
        })
        .open()?;

    let mut last = (None, None);
    loop {
        let price = marker(&*backend.streams, &prices, within)?;
        if let Some(at) = price.filter(|_| price != last.0) {
            last.0 = price;
            if checkpoint.heartbeat(at)?.is_late {
                println!("a price of {at} is late: orders are further");
            }
        }
        let order = marker(&*backend.streams, &orders, within)?;
        if let Some(at) = order.filter(|_| order != last.1) {
            last.1 = order;
            if let Some(down) = checkpoint.check_pulse(at, [("orders", at.to_string())])? {
                let seconds = down.length.as_secs_f64();
                println!("{} are {seconds:.1} s behind orders", down.dependency);
            }
        }
        thread::park_timeout(EVERY);
    }
}

/// How far a stream has come.
fn marker(
    streams: &dyn Streams,
    name: &StreamName,
    idle_after: Duration,
) -> Result<Option<Timestamp>, Box<dyn Error>> {
    let found = streams.streams(Some(name))?;
    let stream = found.first();
    Ok(stream.and_then(|stream| marker_of(stream, idle_after, Timestamp::now())))
}
