//! The two ways out of a forked process: another program, or the end.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Ends this process at once, without running what `exit` would run twice.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Becomes the program behind `program`, with these arguments and this environment. Returns only
/// if that failed.
pub(crate) fn replace(
    program: BorrowedFd<'_>,
    args: &[CString],
    environment: &[CString],
) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts
            .iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (args, environment) = (pointers(args), pointers(environment));
    // SAFETY: both lists are null-terminated arrays of pointers to texts that outlive the call, the
    // path is the empty text that AT_EMPTY_PATH asks for, and the descriptor is open.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}
