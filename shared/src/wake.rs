//! Waits for descriptors on behalf of bells.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::broker::{BrokerError, Interrupt, Wake};

/// Waits until `bell` or `interrupt` can be read, or `at_most` has passed.
pub(crate) fn wait(
    bell: Option<BorrowedFd<'_>>,
    interrupt: Option<&Interrupt>,
    at_most: Duration,
) -> Result<Wake, BrokerError> {
    let watched = [bell, interrupt.map(AsFd::as_fd)];
    let mut fds: Vec<PollFd<'_>> = watched
        .iter()
        .flatten()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    // Rounded up: waking a moment early would make the caller spin.
    let ms = i32::try_from(at_most.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    let timeout = PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(0) | Err(Errno::EINTR) => return Ok(Wake::TimedOut),
        Ok(_) => {}
        Err(error) => return Err(away(error)),
    }
    let is_interrupted = interrupt.is_some() && fds.last().is_some_and(|fd| fd.any() == Some(true));
    Ok(if is_interrupted {
        Wake::Interrupted
    } else {
        Wake::Bell
    })
}

fn away(error: Errno) -> BrokerError {
    BrokerError::Away {
        reason: format!("cannot wait for commits: {error}"),
    }
}
