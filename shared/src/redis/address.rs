//! Where the servers are, from a URL. What is shown of it never holds a secret.

use std::fmt;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::broker::BrokerError;

/// Idle this long before the other side is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// What was sent and is not acknowledged by the other side's kernel for so long is lost.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// The servers of one store.
#[derive(Clone)]
pub(super) enum Address {
    /// One server.
    Server(ConnectionInfo),
    /// One server at a time: whichever these sentinels name.
    Sentinels {
        /// The sentinels.
        nodes: Vec<ConnectionInfo>,
        /// The name they know the server by.
        service: String,
        /// How the server itself is used.
        server: ConnectionInfo,
    },
    /// A cluster, entered through any of these.
    Cluster(Vec<ConnectionInfo>),
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`BrokerError::Refused`], without any part that may be secret.
    pub(super) fn parse(url: &str) -> Result<Self, BrokerError> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        match scheme {
            "redis+cluster" | "rediss+cluster" => {
                let (user, hosts, path) = parts(rest).ok_or_else(wrong)?;
                let scheme = scheme.trim_end_matches("+cluster");
                if !matches!(path, "" | "0") {
                    return Err(refused(
                        "a cluster has no database but 0",
                        "leave the number out",
                    ));
                }
                Ok(Self::Cluster(nodes(scheme, user, hosts, "")?))
            }
            "redis+sentinel" | "rediss+sentinel" => {
                let (user, hosts, path) = parts(rest).ok_or_else(wrong)?;
                let scheme = scheme.trim_end_matches("+sentinel");
                let (path, own) = path.split_once('?').unwrap_or((path, ""));
                let (service, database) = path.split_once('/').unwrap_or((path, "0"));
                if service.is_empty() {
                    return Err(refused(
                        "the URL names no service that the sentinels watch",
                        "write `redis+sentinel://host:port/service`",
                    ));
                }
                let own = match own.split_once('=') {
                    None if own.is_empty() => String::new(),
                    Some(("sentinel_password", password)) => format!(":{password}@"),
                    _ => return Err(wrong()),
                };
                // User and password are the server's.
                Ok(Self::Sentinels {
                    nodes: nodes(scheme, &own, hosts, "")?,
                    service: service.into(),
                    server: nodes(scheme, user, hosts, database)?.swap_remove(0),
                })
            }
            _ => Ok(Self::Server(info(url)?)),
        }
    }

    /// For people: without user and password.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Server(info) => show(info),
            Self::Sentinels { nodes, service, .. } => {
                format!("redis+sentinel://{}/{service}", hosts(nodes))
            }
            Self::Cluster(nodes) => format!("redis+cluster://{}", hosts(nodes)),
        }
    }
}

/// User with its `@`, hosts and path of `//user@host,host/path`.
fn parts(rest: &str) -> Option<(&str, &str, &str)> {
    let rest = rest.strip_prefix("//")?;
    let at = rest.rfind('@').map_or(0, |at| at + 1);
    let (user, rest) = rest.split_at(at);
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some((user, hosts, path.trim_end_matches('/')))
}

fn nodes(
    scheme: &str,
    user: &str,
    hosts: &str,
    database: &str,
) -> Result<Vec<ConnectionInfo>, BrokerError> {
    let node = |host: &str| info(&format!("{scheme}://{user}{host}/{database}"));
    hosts.split(',').map(node).collect()
}

fn info(url: &str) -> Result<ConnectionInfo, BrokerError> {
    // The library's own words may quote the URL.
    let info = url.into_connection_info().map_err(|_| wrong())?;
    let tcp = info
        .tcp_settings()
        .clone()
        .set_nodelay(true)
        .set_keepalive(
            redis::io::tcp::socket2::TcpKeepalive::new()
                .with_time(KEEPALIVE)
                .with_interval(KEEPALIVE / 3),
        )
        .set_user_timeout(UNACKNOWLEDGED);
    Ok(info.set_tcp_settings(tcp))
}

fn wrong() -> BrokerError {
    refused(
        "the store's URL makes no sense",
        "write `redis://host:6379/0`, `rediss://...`, `redis+unix:///path`, \
         `redis+sentinel://host:26379/service` or `redis+cluster://host:6379`",
    )
}

fn refused(reason: &str, way_out: &str) -> BrokerError {
    BrokerError::Refused {
        reason: reason.into(),
        way_out: way_out.into(),
    }
}

fn hosts(nodes: &[ConnectionInfo]) -> String {
    let names = nodes.iter().map(|node| node.addr().to_string());
    names.collect::<Vec<_>>().join(",")
}

fn show(info: &ConnectionInfo) -> String {
    let database = info.redis_settings().db();
    match info.addr() {
        ConnectionAddr::Unix(path) => format!("redis+unix://{}?db={database}", path.display()),
        address @ ConnectionAddr::TcpTls { .. } => format!("rediss://{address}/{database}"),
        address => format!("redis://{address}/{database}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_secret() {
        for (url, shown) in [
            ("redis://u:sesame@host:1234/3", "redis://host:1234/3"),
            ("rediss://:sesame@host/", "rediss://host:6379/0"),
            (
                "redis+unix:///run/r.sock?db=2&pass=sesame",
                "redis+unix:///run/r.sock?db=2",
            ),
            (
                "redis+sentinel://u:sesame@a:1,b:2/main/4",
                "redis+sentinel://a:1,b:2/main",
            ),
            (
                "redis+sentinel://:x@a:1/main?sentinel_password=sesame",
                "redis+sentinel://a:1/main",
            ),
            ("redis+cluster://:sesame@a:1,b:2", "redis+cluster://a:1,b:2"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!(address.show(), shown);
            assert!(!format!("{address:?}").contains("sesame"));
        }
    }

    #[test]
    fn a_wrong_url_is_refused_without_quoting_it() {
        for url in [
            "redis://sesame@:x",
            "redis+sentinel://:sesame@a",
            "redis+cluster://a/7",
            "redis+sentinel://a/main?sesame",
            "redis://u:sesame@h/x",
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(!error.contains("sesame"), "{error}");
        }
    }
}
