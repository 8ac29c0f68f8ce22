//! All servers of a store that have keys of their own: for looks at keys that no index names.

use std::collections::BTreeSet;

use redis::{ConnectionAddr, ConnectionInfo, Value};

use super::address::Address;
use super::answer::{Items, bytes, list, number};
use super::call::Call;
use super::line::Line;
use super::store::Store;
use super::trouble::Trouble;

impl Store {
    /// The masters of a cluster, as any of its servers that answers knows them; else the one server there
    /// is.
    pub(super) fn masters(&self) -> Result<Vec<Address>, Trouble> {
        let Address::Cluster(nodes) = &self.lines.address else {
            return Ok(vec![self.lines.address.clone()]);
        };
        let mut trouble = None;
        for node in nodes {
            match ask(node) {
                Ok(masters) => return Ok(masters),
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or_else(|| Ok(Vec::new()), Err)
    }
}

/// Asks one server for the masters of its cluster.
fn ask(node: &ConnectionInfo) -> Result<Vec<Address>, Trouble> {
    let mut line = Line::open(&Address::Server(node.clone()))?;
    let answer = line.run(&[Call::plain(&[b"CLUSTER", b"SLOTS"])])?;
    let mut known = BTreeSet::new();
    for range in list(Value::Array(answer))?.into_iter().flat_map(list) {
        for slots in range {
            known.insert(master(slots)?);
        }
    }
    let found = known.into_iter().map(|(host, port)| at(node, host, port));
    Ok(found.map(Address::Server).collect())
}

/// Host and port of the master of a range of slots: the first server behind its two ends.
fn master(slots: Value) -> Result<(Option<String>, u16), Trouble> {
    let mut items = Items::of(slots)?;
    items.next()?;
    items.next()?;
    let mut server = Items::of(items.next()?)?;
    // A server that does not know how it is called is the one that was asked.
    let host = match server.next()? {
        Value::Nil => None,
        host => Some(String::from_utf8_lossy(&bytes(host)?).into_owned()),
    };
    let port = number(&server.next()?)?;
    let host = host.filter(|host| !host.is_empty());
    Ok((host, u16::try_from(port).unwrap_or(0)))
}

/// The same connection to another server.
fn at(node: &ConnectionInfo, to: Option<String>, to_port: u16) -> ConnectionInfo {
    let mut addr = node.addr().clone();
    if let ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } = &mut addr {
        if let Some(to) = to {
            *host = to;
        }
        *port = to_port;
    }
    node.clone().set_addr(addr)
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(host: Value, port: i64) -> Value {
        let server = |host, port| Value::Array(vec![host, Value::Int(port), text("its id")]);
        let replica = server(text("10.0.0.9"), 9);
        let ends = [Value::Int(0), Value::Int(5460)];
        Value::Array(
            ends.into_iter()
                .chain([server(host, port), replica])
                .collect(),
        )
    }

    #[test]
    fn a_master_is_told_apart_from_its_replicas_and_one_without_a_name_is_who_was_asked() {
        let node = "redis://ada:secret@localhost:7000"
            .into_connection_info()
            .unwrap();
        let found = |host, port| {
            let (host, port) = master(range(host, port)).unwrap();
            at(&node, host, port).addr().to_string()
        };
        assert_eq!(found(text("10.0.0.1"), 7001), "10.0.0.1:7001");
        assert_eq!(found(text(""), 7002), "localhost:7002");
        assert_eq!(found(Value::Nil, 7003), "localhost:7003");
        let other = at(&node, Some("10.0.0.1".into()), 7001);
        assert_eq!(other.redis_settings().username(), Some("ada"));
        assert!(master(Value::Int(7)).is_err());
    }
}
