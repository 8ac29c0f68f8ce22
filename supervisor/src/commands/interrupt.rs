//! Ctrl-C during a wait: the first ends the wait, the second the process.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use bulkhead_shared::broker::Interrupt;
use signal_hook::consts::SIGINT;
use signal_hook::low_level;

use super::CommandError;

/// An [`Interrupt`] that Ctrl-C raises from now on.
pub(crate) fn on_ctrl_c() -> Result<Arc<Interrupt>, CommandError> {
    let caught = catch().map_err(CommandError::Signals)?;
    let interrupt = Arc::new(Interrupt::new().map_err(|e| CommandError::Signals(e.into()))?);
    let raised = Arc::clone(&interrupt);
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || listen(caught, &raised))
        .map_err(CommandError::Signals)?;
    Ok(interrupt)
}

fn catch() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    low_level::pipe::register(SIGINT, write)?;
    Ok(read)
}

fn listen(mut caught: UnixStream, interrupt: &Interrupt) {
    let mut byte = [0];
    if caught.read_exact(&mut byte).is_ok() {
        interrupt.raise();
    }
    if caught.read_exact(&mut byte).is_ok() {
        // It ends the process; if it cannot, Ctrl-C stays without effect.
        let _ = low_level::emulate_default_handler(SIGINT);
    }
}
