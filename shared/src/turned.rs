//! A clock that tests can turn while everything runs.
//!
//! The environment variable [`VARIABLE`] names a file. What stands in it is added to the time of
//! day: signed milliseconds (`-1500`, `+90000`), or a signed duration (`25h`, `-30m`). It may be
//! changed at any time and is noticed within a few hundredths of a second. The turned clock moves
//! triggers, delays, ttl and expiry; leases, the deadlines of tasks and everything else that is
//! measured rather than dated go on as before.
//!
//! Turn it forward only, and the same for all processes of a store: a store does not take its
//! time back.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io, thread};

use crate::time;
use crate::units::{LONGEST, duration};

/// The environment variable that names the file.
pub const VARIABLE: &str = "BULKHEAD_TEST_CLOCK";

/// Between looks into the file.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// No offset is longer, in bytes.
const LONGEST_TEXT: u64 = 64;

/// Why a clock cannot be turned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TurnedError {
    /// The file cannot be read.
    #[error("{VARIABLE} names `{}`, which cannot be read (write an offset into it, such as `0` or `25h`, or unset the variable)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        #[source]
        /// Why.
        source: io::Error,
    },
    /// It holds no offset.
    #[error("{VARIABLE}: `{}` holds `{text}`, which is no offset (write milliseconds such as `-1500`, or a duration such as `25h`)", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// How it begins.
        text: String,
    },
    /// It holds too large an offset.
    #[error("{VARIABLE}: `{}` turns the clock by more than ten years (check the unit)", path.display())]
    Absurd {
        /// The file.
        path: PathBuf,
    },
    /// No thread can be started.
    #[error("cannot watch {VARIABLE}")]
    Thread(#[source] io::Error),
}

/// Turns this process's clock as the file at `path` says, from now on. What is wrong with the file
/// later is told in the log, and the last good value stays.
///
/// # Errors
/// [`TurnedError`] if the file holds no offset now.
pub fn follow(path: &Path) -> Result<(), TurnedError> {
    let path = path.to_owned();
    time::turn(read(&path)?);
    let watch = move || {
        let mut complaint = None;
        loop {
            // To wake earlier does no harm.
            thread::park_timeout(LOOK_EVERY);
            match read(&path) {
                Ok(ms) => {
                    if ms != time::turned() {
                        tracing::warn!(ms, "TEST CLOCK TURNED");
                    }
                    time::turn(ms);
                    complaint = None;
                }
                Err(error) => {
                    let text = error.to_string();
                    if complaint.as_ref() != Some(&text) {
                        let stays = time::turned();
                        tracing::warn!(error = text, stays, "the test clock stays as it was");
                    }
                    complaint = Some(text);
                }
            }
        }
    };
    let thread = thread::Builder::new().name("clock".into()).spawn(watch);
    thread.map(drop).map_err(TurnedError::Thread)
}

fn read(path: &Path) -> Result<i64, TurnedError> {
    use std::io::Read as _;
    let text = fs::File::open(path).and_then(|file| {
        let mut text = String::new();
        file.take(LONGEST_TEXT + 1).read_to_string(&mut text)?;
        Ok(text)
    });
    let path = path.to_owned();
    let text = match text {
        Ok(text) => text,
        Err(source) => return Err(TurnedError::Read { path, source }),
    };
    let absurd = || TurnedError::Absurd { path: path.clone() };
    let wrong = || TurnedError::Text {
        path: path.clone(),
        text: text.trim().chars().take(40).collect(),
    };
    let text = text.trim();
    let (is_back, length) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    let ms = if is_number {
        length.parse().map_err(|_| absurd())?
    } else {
        match duration(length) {
            Ok(length) => time::millis(length),
            Err(crate::units::UnitError::TooLong { .. }) => return Err(absurd()),
            Err(_) => return Err(wrong()),
        }
    };
    let ms = i64::try_from(ms).map_err(|_| absurd())?;
    if ms > i64::try_from(time::millis(LONGEST)).unwrap_or(i64::MAX) {
        return Err(absurd());
    }
    Ok(if is_back { -ms } else { ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_read_in_both_forms_and_nonsense_is_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |text: &str| {
            fs::write(file.path(), text).unwrap();
            read(file.path()).map_err(|error| error.to_string())
        };
        assert_eq!(with("0\n"), Ok(0));
        assert_eq!(with("-1500"), Ok(-1500));
        assert_eq!(with("+90000 \n"), Ok(90_000));
        assert_eq!(with("25h"), Ok(90_000_000));
        assert_eq!(with("-30m"), Ok(-1_800_000));
        for (text, word) in [
            ("", "no offset"),
            ("soon", "`soon`"),
            ("--5", "`--5`"),
            ("5 5", "`5 5`"),
            ("9999999999999999999999", "ten years"),
            ("400000000000000", "ten years"),
            ("99999d", "ten years"),
        ] {
            let error = with(text).unwrap_err();
            assert!(error.contains(word) && error.contains(VARIABLE), "{error}");
        }
        let error = read(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(
            error.contains("/nowhere/at/all") && error.contains("unset"),
            "{error}"
        );
    }
}
