//! Finds the server that sentinels name, and makes sure that it is the one.

use std::time::Duration;

use redis::{Connection, ConnectionAddr, ConnectionInfo, Value};

use super::answer::Items;
use super::line::{self, first};
use super::trouble::Trouble;

/// A sentinel that does not answer within this is passed over.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Connects to the master that the sentinels name now.
pub(super) fn connect(
    nodes: &[ConnectionInfo],
    service: &str,
    server: &ConnectionInfo,
    within: Duration,
) -> Result<Connection, Trouble> {
    let named = named(nodes, service, server)?;
    let mut connection = line::connect(&named, within)?;
    // Sentinels may not know yet that it was demoted, or not yet have promoted it.
    let role = redis::cmd("ROLE").query::<Value>(&mut connection)?;
    match Items::of(role)?.next()? {
        Value::BulkString(role) if role == b"master" => Ok(connection),
        _ => Err(Trouble::Away(format!(
            "the server at {} that sentinels name is no master",
            named.addr()
        ))),
    }
}

fn named(
    nodes: &[ConnectionInfo],
    service: &str,
    server: &ConnectionInfo,
) -> Result<ConnectionInfo, Trouble> {
    first(nodes.iter().map(|node| {
        let mut connection = line::connect(node, ANSWER_WITHIN)?;
        let named: Option<(String, u16)> = redis::cmd("SENTINEL")
            .arg("get-master-addr-by-name")
            .arg(service)
            .query(&mut connection)?;
        let Some((host, port)) = named else {
            let reason = format!("the sentinel at {} knows no `{service}`", node.addr());
            return Err(Trouble::Away(reason));
        };
        Ok(server.clone().set_addr(match server.addr().clone() {
            ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure,
                tls_params,
            },
            _ => ConnectionAddr::Tcp(host, port),
        }))
    }))
}
