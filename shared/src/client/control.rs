use super::{Client, ClientError};
use crate::control::QueueGate;
use crate::name::QueueName;

/// Jobs forgotten in one move of a clearing.
const CLEARED_AT_ONCE: usize = 1000;

impl Client {
    /// Lets no job of a queue start until [`Client::resume`]. What runs goes on, and producers are
    /// served. Returns what the queue let through before.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn pause(&self, queue: &QueueName) -> Result<QueueGate, ClientError> {
        Ok(self.backend.control.set_gate(queue, QueueGate::Paused)?)
    }

    /// Refuses new jobs for a queue until [`Client::resume`]: [`ClientError::Draining`]. What is
    /// there runs to its end, with its retries. Returns what the queue let through before.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn drain(&self, queue: &QueueName) -> Result<QueueGate, ClientError> {
        Ok(self.backend.control.set_gate(queue, QueueGate::Draining)?)
    }

    /// Opens a queue that was paused or draining. Returns what it let through before.
    ///
    /// # Errors
    /// [`ClientError::Store`].
    pub fn resume(&self, queue: &QueueName) -> Result<QueueGate, ClientError> {
        Ok(self.backend.control.set_gate(queue, QueueGate::Open)?)
    }

    /// Forgets everything that the namespace holds, running jobs included: their supervisors find
    /// their leases gone and stop them. Says after each step how many jobs are gone, and returns
    /// that number.
    ///
    /// # Errors
    /// [`ClientError::Store`]; what was cleared before stays so.
    pub fn clear_namespace(&self, mut gone: impl FnMut(usize)) -> Result<usize, ClientError> {
        let mut sum = 0;
        loop {
            match self.backend.control.clear(CLEARED_AT_ONCE)? {
                0 => return Ok(sum),
                some => sum += some,
            }
            gone(sum);
        }
    }
}
