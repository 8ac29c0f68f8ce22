//! The lines of a file or of standard input, in batches.

use std::fs::{self, File, FileType};
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use bulkhead_shared::client::BATCH;
use bulkhead_shared::flow::Flow;
use bulkhead_shared::message::PAYLOAD_LIMIT;

use super::line::Line;
use super::sender::Sender;
use crate::commands::CommandError;

/// Longest line: the largest payload and as much around it.
const LINE_LIMIT: usize = 2 * PAYLOAD_LIMIT;

/// Bytes of lines in one batch, about.
const BATCH_BYTES: usize = 32 << 20;

/// Where lines come from.
pub(super) struct Source {
    lines: Lines,
    defaults: Line,
    is_checked: bool,
}

impl Source {
    /// Opens `path`, or standard input for `-`. A regular file is read and checked whole. Where
    /// somebody `waits`, each line must have a job to wait for.
    pub(super) fn open(path: PathBuf, defaults: Line, waits: bool) -> Result<Self, CommandError> {
        if path.as_os_str() == "-" {
            let lines = Lines::new("-".into(), Box::new(io::stdin()), waits);
            return Ok(Self {
                lines,
                defaults,
                is_checked: false,
            });
        }
        let name = path.display().to_string();
        let opened = || -> Result<Lines, CommandError> {
            let wrong = |source| CommandError::Read {
                name: name.clone(),
                source,
            };
            let file = File::open(&path).map_err(wrong)?;
            Ok(Lines::new(name.clone(), Box::new(file), waits))
        };
        let kind = fs::metadata(&path).map(|data| data.file_type());
        let is_regular = kind.as_ref().is_ok_and(FileType::is_file);
        if kind.is_ok_and(|kind| kind.is_dir()) {
            return Err(CommandError::Read {
                name,
                source: io::ErrorKind::IsADirectory.into(),
            });
        }
        if is_regular {
            let mut lines = opened()?;
            while let Some(line) = lines.next_line()? {
                lines.flow(&line, &defaults)?;
            }
        }
        Ok(Self {
            lines: opened()?,
            defaults,
            is_checked: is_regular,
        })
    }

    /// The next messages, at most [`BATCH`]; `None` at the end.
    pub(super) fn next_batch(
        &mut self,
        sender: &Sender,
    ) -> Result<Option<Vec<Flow>>, CommandError> {
        let batch = self.read_batch();
        // Of a stream, and of a file that has changed since it was checked.
        batch.map_err(|error| match error {
            CommandError::Input(text) if !self.is_checked || sender.count() > 0 => {
                let before = sender.count();
                CommandError::Input(format!("{text} (submitted before it: {before})"))
            }
            error => error,
        })
    }

    fn read_batch(&mut self) -> Result<Option<Vec<Flow>>, CommandError> {
        let mut messages = Vec::new();
        let mut bytes = 0;
        while messages.len() < BATCH && bytes < BATCH_BYTES {
            let Some(line) = self.lines.next_line()? else {
                break;
            };
            bytes += line.len();
            messages.push(self.lines.flow(&line, &self.defaults)?);
        }
        Ok((!messages.is_empty()).then_some(messages))
    }
}

struct Lines {
    name: String,
    reader: BufReader<Box<dyn Read>>,
    number: u64,
    waits: bool,
}

impl Lines {
    fn new(name: String, read: Box<dyn Read>, waits: bool) -> Self {
        Self {
            name,
            reader: BufReader::new(read),
            number: 0,
            waits,
        }
    }

    /// The next line that is not empty.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, CommandError> {
        loop {
            let mut line = Vec::new();
            let limit = LINE_LIMIT as u64 + 1;
            let read = self
                .reader
                .by_ref()
                .take(limit)
                .read_until(b'\n', &mut line);
            let read = read.map_err(|source| CommandError::Read {
                name: self.name.clone(),
                source,
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            if line.len() > LINE_LIMIT {
                return Err(self.wrong(&format!("it has more than {LINE_LIMIT} bytes")));
            }
            let line = line.trim_ascii();
            if !line.is_empty() {
                return Ok(Some(line.to_vec()));
            }
        }
    }

    fn flow(&self, line: &[u8], defaults: &Line) -> Result<Flow, CommandError> {
        let flow = Line::parse(line, defaults).and_then(Line::flow);
        match flow.map_err(|text| self.wrong(&text))? {
            Flow::Group(group) if self.waits => Err(self.wrong(&format!(
                "--wait waits for the first job of a flow, and group {} has none (submit it \
                 without --wait, and ask for its `status`)",
                group.uuid()
            ))),
            flow => Ok(flow),
        }
    }

    fn wrong(&self, text: &str) -> CommandError {
        CommandError::Input(format!("`{}` line {}: {text}", self.name, self.number))
    }
}
