//! The same calls for `async fn` tasks: they hold up nobody else.

use std::time::Duration;

use bulkhead_shared::{Timestamp, Uuid};
use serde::de::DeserializeOwned;

use super::memory::Kind;
use super::suspend::How;
use super::{Durable, DurableError, drawn_number, seconds};

impl Durable {
    /// See [`now`](super::now).
    ///
    /// # Errors
    /// [`DurableError`].
    pub async fn now_async(&self) -> Result<Timestamp, DurableError> {
        self.tell_time(How::Await).await
    }

    /// See [`time`](super::time).
    ///
    /// # Errors
    /// [`DurableError`].
    pub async fn time_async(&self) -> Result<f64, DurableError> {
        self.now_async().await.map(seconds)
    }

    /// See [`sleep`](super::sleep).
    ///
    /// # Errors
    /// [`DurableError`].
    pub async fn sleep_async(&self, length: Duration) -> Result<(), DurableError> {
        self.rest(length, How::Await).await
    }

    /// See [`random`](super::random).
    ///
    /// # Errors
    /// [`DurableError`].
    pub async fn random_async(&self) -> Result<u64, DurableError> {
        self.draw(Kind::Random, drawn_number, How::Await).await
    }

    /// See [`uuid`](super::uuid).
    ///
    /// # Errors
    /// [`DurableError`].
    pub async fn uuid_async(&self) -> Result<Uuid, DurableError> {
        self.draw(Kind::Uuid, Uuid::new_v4, How::Await).await
    }

    /// See [`wait_for`](super::wait_for).
    ///
    /// # Errors
    /// [`DurableError`].
    pub async fn wait_for_async<T: DeserializeOwned>(
        &self,
        signal: &str,
        within: Duration,
    ) -> Result<Option<T>, DurableError> {
        self.await_signal(signal, within, How::Await).await
    }
}
