//! Hears what is published on one channel, on a thread and a connection of its own.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crossbeam::channel::Sender;

use super::address::Address;
use super::line::Line;
use super::trouble::Trouble;
use crate::broker::{BrokerError, Interrupt};
use crate::reconnect::pause;

/// A channel that is silent for so long is asked whether it is still there.
const SILENT: Duration = Duration::from_secs(5);

/// Bytes of a name in what is published.
pub(super) const NAME: usize = 32;

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Listener {
    /// The names waited for; `None` for whatever comes.
    wanted: Option<HashSet<Vec<u8>>>,
    has_heard: AtomicBool,
    bell: Arc<Interrupt>,
}

impl Listener {
    pub(super) fn new(wanted: Option<HashSet<Vec<u8>>>, bell: Arc<Interrupt>) -> Arc<Self> {
        Arc::new(Self {
            wanted,
            has_heard: AtomicBool::new(false),
            bell,
        })
    }

    /// Whether something was heard since the last time.
    pub(super) fn has_heard(&self) -> bool {
        self.has_heard.swap(false, Ordering::SeqCst)
    }

    fn hear(&self, published: &[u8]) {
        let is_wanted = self.wanted.as_ref().is_none_or(|wanted| {
            published
                .chunks(NAME)
                .any(|published| wanted.contains(published))
        });
        if is_wanted {
            self.wake();
        }
    }

    fn wake(&self) {
        self.has_heard.store(true, Ordering::SeqCst);
        self.bell.raise();
    }
}

/// Those who wait on one channel.
type Listeners = Mutex<Vec<Weak<Listener>>>;

/// An open channel; its thread ends soon after it is dropped.
#[derive(Debug)]
pub(super) struct Ear(Arc<Listeners>);

impl Ear {
    /// Subscribes; what is published after this is heard.
    pub(super) fn open(
        address: &Address,
        place: &str,
        channel: String,
    ) -> Result<Self, BrokerError> {
        let listeners: Arc<Listeners> = Arc::default();
        let (ready, is_ready) = crossbeam::channel::bounded(1);
        let (address, all) = (address.clone(), Arc::downgrade(&listeners));
        std::thread::Builder::new()
            .name("ear".into())
            .spawn(move || listen(&address, &channel, &all, &ready))
            .map_err(|error| BrokerError::Away {
                reason: format!("no thread to be had: {error}"),
            })?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok(Self(listeners)),
            Ok(Err(trouble)) => Err(trouble.translate(place)),
            Err(_) => Err(BrokerError::Away {
                reason: "cannot listen".into(),
            }),
        }
    }

    pub(super) fn add(&self, listener: &Arc<Listener>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(listener));
    }
}

fn listen(
    address: &Address,
    channel: &str,
    listeners: &Weak<Listeners>,
    ready: &Sender<Result<(), Trouble>>,
) {
    let mut is_first = true;
    let mut failures = 0;
    while is_first || listeners.strong_count() > 0 {
        let heard = hear(address, channel, listeners, || {
            failures = 0;
            if is_first {
                // Whoever opened it waits for this.
                let _ = ready.send(Ok(()));
            } else {
                // Something may have been published while nobody listened.
                each(listeners, Listener::wake);
            }
        });
        let Err(trouble) = heard else { return };
        if is_first && ready.try_send(Err(trouble)).is_ok() && listeners.strong_count() == 0 {
            return;
        }
        is_first = false;
        crossbeam::channel::after(pause(failures)).recv().ok();
        failures += 1;
    }
}

/// Hears until the channel breaks, or nobody is left to hear it.
fn hear(
    address: &Address,
    channel: &str,
    listeners: &Weak<Listeners>,
    mut is_open: impl FnMut(),
) -> Result<(), Trouble> {
    let mut connection = Line::connection(address, SILENT)?;
    let mut channel_in = connection.as_pubsub();
    channel_in.subscribe(channel)?;
    is_open();
    loop {
        match channel_in.get_message() {
            Ok(message) => {
                let published = message.get_payload_bytes();
                each(listeners, |listener| listener.hear(published));
            }
            Err(error) if error.is_timeout() => {
                channel_in.ping::<redis::Value>()?;
            }
            Err(error) => return Err(error.into()),
        }
        if listeners.strong_count() == 0 {
            return Ok(());
        }
    }
}

fn each(listeners: &Weak<Listeners>, act: impl Fn(&Listener)) {
    if let Some(listeners) = listeners.upgrade() {
        let all = listeners.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter_map(Weak::upgrade)
            .for_each(|one| act(&one));
    }
}
