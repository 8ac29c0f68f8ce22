use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task;

use super::asynchronous::AsyncClient;
use crate::lock::{HeldLock, Level, Lock, LockError, LockGuard};

impl AsyncClient {
    /// Acquires a lock, waiting for it at most so long; `settings` says what is special about it.
    /// A lock of [`Level::Thread`] belongs to the thread that calls this.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bulkhead_shared::client::AsyncClient;
    /// use std::time::Duration;
    /// let client = AsyncClient::open("sqlite::memory:").await?;
    /// let minute = Duration::from_secs(60);
    /// let held = client.lock("report", minute, Level::Process, move |lock| lock.ttl(minute)).await?;
    /// assert!(held.fence() > 0);
    /// held.release().await?;
    /// # Ok(())
    /// # }
    /// # use bulkhead_shared::lock::Level;
    /// ```
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    pub async fn lock(
        &self,
        name: &str,
        wait: Duration,
        level: Level,
        settings: impl for<'a> FnOnce(Lock<'a>) -> Lock<'a> + Send + 'static,
    ) -> Result<AsyncLockGuard, LockError> {
        // Here, where it is known whose thread this is.
        let owner = level.owner()?.to_string();
        let (client, name) = (self.blocking().clone(), name.to_owned());
        let acquire = move || settings(client.lock(&name).owner(&owner)).acquire(wait);
        Ok(AsyncLockGuard(Some(off(acquire).await?)))
    }

    /// Who holds a lock, if anybody does.
    ///
    /// # Errors
    /// As [`Lock::holder`].
    pub async fn lock_holder(&self, name: &str) -> Result<Option<HeldLock>, LockError> {
        let (client, name) = (self.blocking().clone(), name.to_owned());
        off(move || client.lock(&name).holder()).await
    }
}

/// A lock that is held. Released when it is dropped, on a thread for blocking work.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct AsyncLockGuard(Option<LockGuard>);

impl AsyncLockGuard {
    /// As [`LockGuard::fence`].
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.0.as_ref().map_or(0, LockGuard::fence)
    }

    /// As [`LockGuard::release`].
    ///
    /// # Errors
    /// As [`LockGuard::release`].
    pub async fn release(mut self) -> Result<(), LockError> {
        match self.0.take() {
            Some(guard) => off(move || guard.release()).await,
            None => Ok(()),
        }
    }

    /// As [`LockGuard::keep`]: it stays held when this is dropped. Returns its fence.
    pub fn keep(mut self) -> u64 {
        self.0.take().map_or(0, LockGuard::keep)
    }
}

impl Drop for AsyncLockGuard {
    fn drop(&mut self) {
        if let Some(guard) = self.0.take() {
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(move || drop(guard))),
                Err(_) => drop(guard),
            }
        }
    }
}

/// Runs what blocks off the runtime's own threads.
async fn off<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, LockError> + Send + 'static,
) -> Result<T, LockError> {
    match task::spawn_blocking(call).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(LockError::Store(crate::broker::BrokerError::Away {
            reason: "the runtime is shutting down".into(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_somebody_else(lock: Lock<'_>) -> Lock<'_> {
        lock.owner("somebody:else")
    }

    #[tokio::test]
    async fn a_lock_is_held_until_its_guard_is_released_or_dropped() {
        let client = AsyncClient::open("sqlite::memory:").await.unwrap();
        let lock = || client.lock("one", Duration::ZERO, Level::Thread, |lock| lock);
        let refused = || client.lock("one", Duration::ZERO, Level::Process, as_somebody_else);
        let held = lock().await.unwrap();
        let holder = client.lock_holder("one").await.unwrap().unwrap();
        assert_eq!(holder.fence, held.fence());
        let refused = refused().await.unwrap_err();
        assert!(matches!(refused, LockError::Held(_)), "{refused}");
        held.release().await.unwrap();
        assert!(client.lock_holder("one").await.unwrap().is_none());
        drop(lock().await.unwrap());
        // Dropped on another thread: whoever waits gets it.
        let long = Duration::from_secs(60);
        let again = client
            .lock("one", long, Level::Host, |lock| lock)
            .await
            .unwrap();
        let fence = again.keep();
        assert_eq!(
            client.lock_holder("one").await.unwrap().unwrap().fence,
            fence
        );
    }
}
