//! Sends messages and says what became of them.

use std::collections::HashSet;
use std::path::PathBuf;

use bulkhead_shared::Uuid;
use bulkhead_shared::client::Client;
use bulkhead_shared::flow::Flow;
use bulkhead_shared::name::TaskName;

use crate::commands::describe::describe;
use crate::commands::error::chain;
use crate::commands::{CommandError, output};
use crate::exit::Exit;

/// Submits batches, and remembers what a wait needs to know.
pub(super) struct Sender {
    client: Client,
    child: PathBuf,
    /// Results are printed instead of uuids.
    waits: bool,
    is_single: bool,
    /// Whoever read our output is gone; the messages are sent all the same.
    is_mute: bool,
    /// The child has been asked.
    has_asked: bool,
    /// Tasks whose queue nobody knows, as the user has been told.
    told: HashSet<TaskName>,
    sent: Vec<Uuid>,
    count: u64,
    refused: u64,
}

impl Sender {
    pub(super) fn new(client: Client, child: PathBuf, waits: bool, is_single: bool) -> Self {
        Self {
            client,
            child,
            waits,
            is_single,
            is_mute: false,
            has_asked: false,
            told: HashSet::new(),
            sent: Vec::new(),
            count: 0,
            refused: 0,
        }
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// A single message was meant, not a list that happens to have one.
    pub(super) const fn is_single(&self) -> bool {
        self.is_single
    }

    /// The jobs to wait for, in the order of submission.
    pub(super) fn sent(&self) -> &[Uuid] {
        &self.sent
    }

    /// How many messages were accepted.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// The exit code of what was sent.
    pub(super) const fn exit(&self) -> Exit {
        if self.refused > 0 {
            Exit::Refused
        } else {
            Exit::Done
        }
    }

    /// Submits these messages, and prints their uuids.
    pub(super) fn send(&mut self, flows: &[Flow]) -> Result<(), CommandError> {
        self.find_queues(flows)?;
        let mut printed = String::new();
        for ticket in self.client.submit_flows(flows)? {
            let uuid = match ticket.accepted() {
                Ok(uuid) => uuid,
                Err(error) => {
                    self.refused += 1;
                    output::say(&format!("error: {error}"));
                    continue;
                }
            };
            self.count += 1;
            printed.push_str(&format!("{uuid}\n"));
            if self.waits {
                self.sent.push(uuid);
            }
        }
        if self.waits {
            // So that a wait that is interrupted has left the uuid behind.
            if self.is_single && !printed.is_empty() {
                output::say(&format!("submitted {}", printed.trim_end()));
            }
            return Ok(());
        }
        self.print(&printed)
    }

    fn print(&mut self, text: &str) -> Result<(), CommandError> {
        if self.is_mute {
            return Ok(());
        }
        match output::bytes(text.as_bytes()) {
            Err(error) if error.is_broken_pipe() => {
                self.is_mute = true;
                Ok(())
            }
            printed => printed,
        }
    }

    /// Asks the child, once, for the queues of tasks that no supervisor has registered.
    fn find_queues(&mut self, flows: &[Flow]) -> Result<(), CommandError> {
        let mut missing = self.client.unregistered(flows)?;
        missing.retain(|task| !self.told.contains(task));
        if missing.is_empty() {
            return Ok(());
        }
        let mut why = String::new();
        if !self.has_asked {
            self.has_asked = true;
            match self.ask() {
                Ok(()) => missing = self.client.unregistered(flows)?,
                Err(reason) => why = format!(" and {reason}"),
            }
        }
        for task in missing {
            output::say(&format!(
                "warning: no supervisor has registered task `{task}`{why}: it goes to queue `default` (name another with --queue, or the program that has the task with --child)"
            ));
            self.told.insert(task);
        }
        Ok(())
    }

    fn ask(&mut self) -> Result<(), String> {
        let tasks = describe(&self.child).map_err(|error| {
            let shown = self.child.display();
            format!("`{shown}` cannot be asked: {}", chain(&error))
        })?;
        self.client.learn(tasks);
        Ok(())
    }
}
