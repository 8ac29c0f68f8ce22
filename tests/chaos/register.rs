//! What attempts leave behind: lines in a file, and a register that takes no write of an older
//! fence after one of a newer. That is what a task has to do that must not be overtaken by itself.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bulkhead_child::Context;
use bulkhead_child::anyhow::{self, Context as _};
use nix::time::{ClockId, clock_gettime};

/// The file of lines, and the job's place in the register beside it, if there is one.
pub(crate) type Target = (PathBuf, Option<u64>);

/// Bytes of a place: the newest fence that has written there.
const PLACE: u64 = 8;

/// Bytes of a line; a page has room for so many of them that none is cut in two.
const LINE: usize = 128;

/// One attempt's hold on both.
pub(crate) struct Record {
    attempt: String,
    fence: u64,
    lines: File,
    register: Option<(File, u64)>,
}

impl Record {
    /// Says that the attempt has begun.
    pub(crate) fn begin(ctx: &Context, (lines, place): &Target) -> anyhow::Result<Self> {
        let open = |path: &Path, options: &mut OpenOptions| {
            let file = options.open(path);
            file.with_context(|| format!("opening {}", path.display()))
        };
        let register = match place {
            Some(place) => {
                let path = lines.with_extension("register");
                let file = open(&path, OpenOptions::new().read(true).write(true))?;
                Some((file, place * PLACE))
            }
            None => None,
        };
        let record = Self {
            attempt: format!("{} {}", ctx.uuid(), ctx.fence()),
            fence: ctx.fence(),
            lines: open(lines, OpenOptions::new().append(true))?,
            register,
        };
        if record.register.is_some() {
            record.write("begin")?;
        } else {
            record.append(&record.attempt)?;
        }
        Ok(record)
    }

    /// Says that the attempt is still there, if there is a register.
    pub(crate) fn beat(&self) -> anyhow::Result<()> {
        self.write("beat")
    }

    /// Says that the attempt is about to end, if there is a register.
    pub(crate) fn end(&self) -> anyhow::Result<()> {
        self.write("end")
    }

    /// Writes under the attempt's fence, and says whether that was accepted. Both happen under
    /// one lock, so that the lines have the order of the writes.
    fn write(&self, word: &str) -> anyhow::Result<()> {
        let Some((register, at)) = &self.register else {
            return Ok(());
        };
        register.lock()?;
        let mut newest = [0; 8];
        // Beyond its end the file has no fences yet.
        let _ = register.read_at(&mut newest, *at)?;
        let said = if self.fence < u64::from_be_bytes(newest) {
            "refused"
        } else {
            register.write_all_at(&self.fence.to_be_bytes(), *at)?;
            "accepted"
        };
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
        let (seconds, nanos) = (now.tv_sec(), now.tv_nsec());
        let line = format!("{} {word} {seconds}.{nanos:09} {said}", self.attempt);
        self.append(&line)?;
        Ok(register.unlock()?)
    }

    /// By one write within one page of the file: nobody reads half of it, and SIGKILL leaves all
    /// of it or nothing.
    fn append(&self, line: &str) -> anyhow::Result<()> {
        let line = format!("{line:<width$}\n", width = LINE - 1);
        let written = (&self.lines).write(line.as_bytes())?;
        anyhow::ensure!(written == LINE, "wrote {written} bytes of a line");
        Ok(())
    }
}
