//! One connection: to a server, or to the servers of a cluster.

use std::fmt;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterConnection};
use redis::{Client, Connection, ConnectionInfo, ConnectionLike, Value};

use super::address::Address;
use super::call::{By, Call};
use super::script::Script;
use super::sentinel;
use super::trouble::Trouble;
use super::watch::Watch;

/// A server that cannot be reached within this is away.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// A server that does not answer, or take what is sent, within this is away.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How often a call may be sent elsewhere by the servers of a cluster.
const FOLLOWS: u32 = 3;

/// A connection. After any [`Trouble::Broken`] it is of no more use: an answer may still come.
pub(super) struct Line {
    to: To,
    /// Digests of scripts whose text has gone this way. The first time the text is sent, so that
    /// no script of a pipeline is missing while those after it are run.
    told: Vec<&'static str>,
    /// Gates that are watched. Nothing if this is no single server, or it lets nobody watch.
    pub(super) watch: Option<Watch>,
}

enum To {
    Server(Box<Connection>),
    Cluster(Box<ClusterConnection>),
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Line {
    /// Connects, for calls that are answered at once.
    pub(super) fn open(address: &Address) -> Result<Self, Trouble> {
        Self::open_for(address, ANSWER_WITHIN)
    }

    /// Connects, for calls whose answers may take up to `within`.
    pub(super) fn open_for(address: &Address, within: Duration) -> Result<Self, Trouble> {
        if let Address::Cluster(nodes) = address {
            let client = ClusterClient::builder(nodes.iter().cloned())
                .connection_timeout(CONNECT_WITHIN)
                .response_timeout(within)
                // Enough to follow keys that have moved. Left to itself it would pause for minutes.
                .retries(FOLLOWS)
                .min_retry_wait(10)
                .max_retry_wait(200)
                .build()?;
            return Ok(Self::new(To::Cluster(Box::new(client.get_connection()?))));
        }
        let connection = Self::connection(address, within)?;
        Ok(Self::new(To::Server(Box::new(connection))))
    }

    fn new(to: To) -> Self {
        Self {
            watch: matches!(to, To::Server(_)).then(Watch::default),
            to,
            told: Vec::new(),
        }
    }

    /// Connects to one server, whichever will do.
    pub(super) fn connection(address: &Address, within: Duration) -> Result<Connection, Trouble> {
        match address {
            Address::Server(info) => connect(info, within),
            Address::Sentinels {
                nodes,
                service,
                server,
            } => sentinel::connect(nodes, service, server, within),
            // Any of them passes on what is published.
            Address::Cluster(nodes) => first(nodes.iter().map(|node| connect(node, within))),
        }
    }

    /// Runs all of it and returns the answers in order. A script that the server knows no more
    /// was not run: it is sent again with its text; what was run is not run again.
    pub(super) fn run(&mut self, calls: &[Call]) -> Result<Vec<Value>, Trouble> {
        let answers = self.answers(calls)?;
        answers.iter().try_for_each(accepted)?;
        Ok(answers)
    }

    /// The connection, if it is to a single server.
    pub(super) fn server(&mut self) -> Option<&mut Connection> {
        match &mut self.to {
            To::Server(connection) => Some(connection),
            To::Cluster(_) => None,
        }
    }

    /// As [`Self::run`], but what the server says no to is an answer too.
    pub(super) fn answers(&mut self, calls: &[Call]) -> Result<Vec<Value>, Trouble> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let by: Vec<By> = calls.iter().map(|call| self.by(call)).collect();
        let mut answers = self.send(&mut calls.iter().zip(by))?;
        let is_unknown = |answer: &Value| matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT");
        let unknown: Vec<usize> = (0..calls.len())
            .filter(|&index| is_unknown(&answers[index]))
            .collect();
        if !unknown.is_empty() {
            let mut again = unknown.iter().map(|&index| (&calls[index], By::Source));
            for (&index, answer) in unknown.iter().zip(self.send(&mut again)?) {
                answers[index] = answer;
            }
        }
        Ok(answers)
    }

    fn by(&mut self, call: &Call) -> By {
        let Some(digest) = call.runs().map(Script::digest) else {
            return By::Digest;
        };
        if self.told.contains(&digest) {
            return By::Digest;
        }
        self.told.push(digest);
        By::Source
    }

    fn send(
        &mut self,
        calls: &mut dyn Iterator<Item = (&Call, By)>,
    ) -> Result<Vec<Value>, Trouble> {
        match &mut self.to {
            To::Server(connection) => {
                let (mut out, mut count) = (Vec::with_capacity(1024), 0);
                for (call, by) in calls {
                    call.write(&mut out, by);
                    count += 1;
                }
                connection
                    .send_packed_command(&out)
                    .map_err(Trouble::Broken)?;
                // One by one: at the first that does not come the rest is not waited for.
                (0..count)
                    .map(|_| connection.recv_response().map_err(Trouble::Broken))
                    .collect()
            }
            To::Cluster(connection) => calls.map(|(call, by)| ask(connection, call, by)).collect(),
        }
    }
}

/// What the server says no to is an error.
pub(super) fn accepted(answer: &Value) -> Result<(), Trouble> {
    match answer {
        Value::ServerError(error) => Err(Trouble::Answer(error.clone().into())),
        _ => Ok(()),
    }
}

/// One call to a cluster, which finds the server by the first key.
fn ask(connection: &mut ClusterConnection, call: &Call, by: By) -> Result<Value, Trouble> {
    let mut out = Vec::new();
    call.write(&mut out, by);
    match connection.req_packed_command(&out) {
        // As a single server's would: others of the same round may still be of use.
        Err(error) if error.code() == Some("NOSCRIPT") => {
            out.clear();
            call.write(&mut out, By::Source);
            Ok(connection.req_packed_command(&out)?)
        }
        answer => Ok(answer?),
    }
}

pub(super) fn connect(info: &ConnectionInfo, within: Duration) -> Result<Connection, Trouble> {
    let client = Client::open(info.clone())?;
    let connection = client.get_connection_with_timeout(CONNECT_WITHIN)?;
    connection.set_read_timeout(Some(within))?;
    connection.set_write_timeout(Some(ANSWER_WITHIN))?;
    Ok(connection)
}

/// The first that can be had, else why the last could not.
pub(super) fn first<T>(tries: impl Iterator<Item = Result<T, Trouble>>) -> Result<T, Trouble> {
    let mut last = Trouble::Away("the URL names no host".into());
    for one in tries {
        match one {
            Ok(one) => return Ok(one),
            Err(error) => last = error,
        }
    }
    Err(last)
}
