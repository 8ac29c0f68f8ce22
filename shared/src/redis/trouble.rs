//! What the server's and the library's errors mean to callers.

use redis::RedisError;

use crate::broker::BrokerError;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection is of no more use; whether the call was done is not known.
    Broken(RedisError),
    /// The server said no.
    Answer(RedisError),
    /// Nobody is there.
    Away(String),
    /// Other programs have keys where ours should be.
    Foreign(String),
    /// An answer makes no sense.
    Nonsense(String),
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Self::of(error)
    }
}

impl Trouble {
    /// Tells a broken connection from a server that says no.
    pub(super) fn of(error: RedisError) -> Self {
        if error.code().is_some() {
            Self::Answer(error)
        } else {
            Self::Broken(error)
        }
    }

    /// Whether this user may not do so, or nobody may.
    pub(super) fn is_forbidden(&self) -> bool {
        let Self::Answer(error) = self else {
            return false;
        };
        let detail = error.detail().unwrap_or_default();
        match error.code() {
            Some("NOPERM") => true,
            Some("EXECABORT") => detail.contains("NOPERM"),
            Some("ERR") => detail.contains("unknown command"),
            _ => false,
        }
    }

    /// In our words, for the store at `place`.
    pub(super) fn translate(&self, place: &str) -> BrokerError {
        let error = match self {
            Self::Away(reason) => {
                return BrokerError::Away {
                    reason: format!("{place}: {reason}"),
                };
            }
            Self::Foreign(which) => {
                return BrokerError::Refused {
                    reason: format!("{place}: keys of another program are in the way: {which}"),
                    way_out: "name another --namespace; they were left as they are".into(),
                };
            }
            Self::Nonsense(reason) => {
                return BrokerError::Damaged {
                    reason: format!("{place}: {reason}"),
                    way_out: "use the release that wrote it, or another namespace".into(),
                };
            }
            Self::Broken(error) | Self::Answer(error) => error,
        };
        let reason = format!("{place}: {error}");
        let refused = |way_out: &str| BrokerError::Refused {
            reason: reason.clone(),
            way_out: way_out.into(),
        };
        let detail = error.detail().unwrap_or_default();
        match error.code() {
            Some("DAMAGED") => BrokerError::Damaged {
                reason,
                way_out: "put back what was there; or clear the namespace, or use another".into(),
            },
            Some("OOM") => BrokerError::Full { reason },
            Some("NOAUTH" | "WRONGPASS") => {
                refused("put the user and the password into the URL: redis://user:password@host")
            }
            Some("NOPERM") => refused("let this user run scripts, lists, channels and all keys"),
            // Behind sentinels, or in a cluster, there will be a master soon.
            Some("READONLY")
                if place.starts_with("redis+sentinel") || place.starts_with("redis+cluster") =>
            {
                BrokerError::Away { reason }
            }
            Some("READONLY") => refused(
                "name the master, not a replica; redis+sentinel://host:port/service finds it by itself",
            ),
            Some("CROSSSLOT" | "MOVED" | "ASK") => {
                refused("write the URL of a cluster as redis+cluster://")
            }
            Some("ERR") if detail.contains("DB index") => {
                refused("name a database that the server has, such as /0")
            }
            Some("ERR") if detail.contains("user_script") => BrokerError::Damaged {
                reason,
                way_out: "keys of other programs in this namespace? Name another --namespace"
                    .into(),
            },
            _ if error.kind() == redis::ErrorKind::AuthenticationFailed => {
                refused("check the user and the password in the URL")
            }
            _ => BrokerError::Away { reason },
        }
    }
}
