//! What a task process does to itself, once and before its first job: descriptors, signals.
//!
//! The unsafe code of the runtime is here and in `allocation`.

use std::cell::Cell;
use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::hint;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bulkhead_shared::codec;
use bulkhead_shared::frame::FromTask;
use bulkhead_shared::isolation::{TUNABLE, TUNABLES};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Where jobs come in.
const JOB_FD: RawFd = 3;

/// Where answers go out.
const RESULT_FD: RawFd = 4;

/// Looks at a frame that another thread is writing before the handler of SIGABRT gives up. A
/// thread that waits for a full pipe may never finish.
const WRITING_LOOKS: usize = 1 << 20;

/// Room for such a last word: two numbers of at most nine bytes, variant, length.
const NOTICE_ROOM: usize = 32;

static STOPPING: AtomicBool = AtomicBool::new(false);

/// The call that runs, for the handler of SIGABRT; 0 is none.
static NONCE: AtomicU64 = AtomicU64::new(0);
static HAS_CALL: AtomicBool = AtomicBool::new(false);

/// Counts threads that are in the middle of a frame.
pub(crate) static WRITING: Writing = Writing(AtomicUsize::new(0));

#[derive(Debug)]
pub(crate) struct Writing(AtomicUsize);

impl Writing {
    /// Marks a write until the mark is dropped.
    pub(crate) fn begin(&'static self) -> WritingMark {
        self.0.fetch_add(1, Ordering::SeqCst);
        WritingMark(self)
    }
}

#[derive(Debug)]
pub(crate) struct WritingMark(&'static Writing);

impl Drop for WritingMark {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether SIGTERM has come.
pub(crate) fn is_stopping() -> bool {
    STOPPING.load(Ordering::Relaxed)
}

thread_local! {
    /// The call that this thread of a group runs. Without a destructor, so it may be read in a
    /// signal handler.
    static OWN_CALL: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Names the call that this thread of a group runs, or that it runs none.
pub(crate) fn set_own_call(nonce: Option<u64>) {
    OWN_CALL.set(nonce);
}

/// The call to blame for what happens on this thread.
fn call_here() -> Option<u64> {
    let only = || {
        HAS_CALL
            .load(Ordering::SeqCst)
            .then(|| NONCE.load(Ordering::SeqCst))
    };
    OWN_CALL.get().or_else(only)
}

/// Names the call that runs, or that none does.
pub(crate) fn set_call(nonce: Option<u64>) {
    NONCE.store(nonce.unwrap_or(0), Ordering::SeqCst);
    HAS_CALL.store(nonce.is_some(), Ordering::SeqCst);
}

/// Sends backtraces to where they are kept: with an error or a panic, not on standard error.
///
/// For a failed allocation, Rust prints a backtrace itself if `RUST_BACKTRACE` says so; the
/// memory it takes for that would wipe out the record of the failure. Errors and the panic hook
/// of this crate read `RUST_LIB_BACKTRACE` first. Call it while the process has one thread.
pub(crate) fn route_backtraces() {
    const PRINTED: &str = "RUST_BACKTRACE";
    const KEPT: &str = "RUST_LIB_BACKTRACE";
    let Some(wanted) = env::var_os(PRINTED) else {
        return;
    };
    if env::var_os(KEPT).is_none() {
        // SAFETY: no other thread reads the environment, as there is none.
        unsafe { env::set_var(KEPT, wanted) };
    }
    // Removed, not set to 0: to read a value takes memory as well.
    // SAFETY: as above.
    unsafe { env::remove_var(PRINTED) };
}

/// Takes away the tunable that only this program was meant to have. Call it while the process has one thread.
pub(crate) fn restore_tunables() {
    let Some(tunables) = env::var_os(TUNABLES) else {
        return;
    };
    match without_ours(&tunables) {
        None => {}
        // SAFETY: no other thread reads the environment, as there is none.
        Some(b"") => unsafe { env::remove_var(TUNABLES) },
        // SAFETY: as above.
        Some(own) => unsafe { env::set_var(TUNABLES, OsStr::from_bytes(own)) },
    }
}

fn without_ours(tunables: &OsStr) -> Option<&[u8]> {
    let own = tunables.as_bytes().strip_suffix(TUNABLE.as_bytes())?;
    Some(own.strip_suffix(b":").unwrap_or(own))
}

/// Takes the job pipe and the result pipe from their fixed numbers. Call it once in a process.
pub(crate) fn pipes() -> io::Result<(File, File)> {
    for fd in [JOB_FD, RESULT_FD] {
        // SAFETY: only asks the kernel about a number; the borrow ends with this statement.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        // Programs that a task starts must not inherit it. Fails if the number is not open.
        fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    Ok(placed_pipes())
}

/// As [`pipes`], in a process whose zygote has put them there, not to be inherited.
pub(crate) fn placed_pipes() -> (File, File) {
    // SAFETY: they are open, as was seen or done just now; the starter of this process reserved the
    // numbers for this purpose and this is called once, so nothing else owns them.
    let take = |fd| File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    (take(JOB_FD), take(RESULT_FD))
}

/// Installs the handlers of SIGTERM, SIGABRT and SIGSYS.
pub(crate) fn handle_signals() -> io::Result<()> {
    handle_term()?;
    handle_crashes()?;
    let all: SigSet = [Signal::SIGTERM, Signal::SIGABRT, Signal::SIGSYS]
        .into_iter()
        .collect();
    Ok(all.thread_unblock()?)
}

/// Installs the handler of SIGTERM.
///
/// Without `SA_RESTART`: a task that blocks in a system call gets `Interrupted` and can notice.
pub(crate) fn handle_term() -> io::Result<()> {
    install(Signal::SIGTERM, SigHandler::Handler(on_term))
}

/// Installs the handlers of SIGABRT and SIGSYS, which a zygote hands down: they end a process as
/// without them, and tell of its call if there is one.
pub(crate) fn handle_crashes() -> io::Result<()> {
    install(Signal::SIGABRT, SigHandler::Handler(on_abort))?;
    install(Signal::SIGSYS, SigHandler::SigAction(on_forbidden))
}

fn install(signal: Signal, handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: all handlers use only atomics, thread-locals without destructors and
    // async-signal-safe calls.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

extern "C" fn on_term(_: libc::c_int) {
    STOPPING.store(true, Ordering::Relaxed);
}

/// Says that an allocation has failed, if that is why, and lets the abort go on.
extern "C" fn on_abort(_: libc::c_int) {
    if let (Some(bytes), Some(nonce)) = (crate::allocation::failed(), call_here()) {
        let bytes = bytes as u64;
        notice(&FromTask::AllocationFailed { nonce, bytes });
    }
    end_by(Signal::SIGABRT);
}

/// What the kernel says of a signal that a filter of system calls has sent.
#[repr(C)]
struct Refused {
    signal: libc::c_int,
    errno: libc::c_int,
    code: libc::c_int,
    address: *const libc::c_void,
    syscall: libc::c_int,
}

/// Says which system call was made that the profile forbids, and ends.
extern "C" fn on_forbidden(_: libc::c_int, why: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands over a whole siginfo_t, which for this signal begins so; it is
    // larger, and aligned as a pointer.
    let refused = unsafe { why.cast::<Refused>().as_ref() };
    if let (Some(Refused { syscall, .. }), Some(nonce)) = (refused, call_here()) {
        let syscall = *syscall;
        notice(&FromTask::Forbidden { nonce, syscall });
    }
    end_by(Signal::SIGSYS);
}

/// Ends this process by a signal whose handler it is in.
fn end_by(signal: Signal) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: sigaction is async-signal-safe; the default action runs no code of ours.
    let _ = unsafe { sigaction(signal, &default) };
    // Delivered when this handler returns, or at once to another thread: either ends the process.
    // SAFETY: getpid is async-signal-safe and has no other demand.
    let pid = unsafe { libc::getpid() };
    // SAFETY: kill is async-signal-safe; the target is this very process.
    unsafe { libc::kill(pid, signal as libc::c_int) };
}

/// Says why this process is about to end.
fn notice(message: &FromTask) {
    let mut looks = 0;
    while WRITING.0.load(Ordering::SeqCst) > 0 {
        looks += 1;
        if looks > WRITING_LOOKS {
            return;
        }
        hint::spin_loop();
    }
    let mut buffer = [0; NOTICE_ROOM];
    let frame = codec::encode_into(message, &mut buffer).and_then(|len| buffer.get(..len));
    if let Some(frame) = frame {
        // SAFETY: write is async-signal-safe and reads `frame.len()` bytes of a live buffer. A
        // pipe takes so few at once or not at all.
        unsafe { libc::write(RESULT_FD, frame.as_ptr().cast(), frame.len()) };
    }
}

/// Takes the small pieces of memory that are free here and there, for good: what a new process
/// allocates then lies together, on fewer pages that have to be copied for it.
pub(crate) fn gather_free_memory() {
    /// Sizes that glibc keeps free lists of, one every so many bytes.
    const LARGEST: usize = 1032;
    const STEP: usize = 16;
    /// Pieces that such a list has at most.
    const PIECES: usize = 8;
    #[cfg(target_env = "gnu")]
    // SAFETY: gives whole pages that are free back to the kernel; takes an integer.
    unsafe {
        libc::malloc_trim(0)
    };
    // SAFETY: malloc may be called with any size. What it gives is not used and never freed; a null
    // pointer lies below all others.
    let piece = |size| unsafe { libc::malloc(size) }.addr();
    // Larger than any free piece is likely to be: all that lies behind it is untouched.
    let untouched = piece(4 * LARGEST);
    for size in (STEP / 2..=LARGEST).step_by(STEP) {
        for _ in 0..PIECES {
            if piece(size) > untouched {
                break;
            }
        }
    }
}

/// Lowers the limit of data memory and others for the rest of this process's life; never raises one.
pub(crate) fn limit(memory: Option<u64>, others: &[(u32, u64, u64)]) -> io::Result<()> {
    if let Some(bytes) = memory {
        crate::sys::lower_limit(libc::RLIMIT_DATA, bytes)?;
    }
    let mut others = others.iter();
    others.try_for_each(|&(resource, soft, hard)| crate::sys::limit_both(resource, soft, hard))
}

/// Dies of this signal, as a program did that stood for this process.
pub(crate) fn die_of(signal: i32) -> ! {
    // That program has left a core, if any was to be left.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // Not blocked for longer than this.
    let _ = SigSet::empty().thread_set_mask();
    // SAFETY: raise has no other demand than a number.
    unsafe { libc::raise(signal) };
    // A signal that ends nothing has ended that program all the same.
    crate::sys::leave(128 + signal)
}

/// Writes out what Rust and C still hold for standard output.
pub(crate) fn flush_output() {
    // What cannot be written is lost: the job's answer matters more.
    let _ = io::stdout().flush();
    // SAFETY: a null pointer asks for all open output streams; fflush locks each one itself.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_tunables_only_ours_is_taken_away() {
        let own = |text: &str| without_ours(OsStr::new(text)).map(<[u8]>::to_vec);
        assert_eq!(own(TUNABLE), Some(Vec::new()));
        let both = format!("glibc.malloc.check=3:{TUNABLE}");
        assert_eq!(own(&both), Some(b"glibc.malloc.check=3".to_vec()));
        assert_eq!(own("glibc.malloc.check=3"), None);
    }
}
