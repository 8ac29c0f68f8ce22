//! The backends that every conformance test runs on: one line each.

/// Which backend a scene plays on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file that several processes share.
    SqliteFile,
    /// A private store in memory.
    SqliteMemory,
    /// One Redis server.
    Redis,
    /// Three Redis servers, each with a part of the keys.
    RedisCluster,
}

/// Runs a test on every backend: `for_each_backend!(what_it_shows, |scene| { ... });`.
#[macro_export]
macro_rules! for_each_backend {
    ($name:ident, |$scene:ident| $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "not every test needs everything")]
            use super::*;
            fn play($scene: &$crate::Scene) $body
            #[test]
            fn on_sqlite_file() {
                play(&$crate::Scene::new($crate::Kind::SqliteFile));
            }
            #[test]
            fn on_sqlite_memory() {
                play(&$crate::Scene::new($crate::Kind::SqliteMemory));
            }
            #[test]
            fn on_redis() {
                play(&$crate::Scene::new($crate::Kind::Redis));
            }
            #[test]
            fn on_redis_cluster() {
                play(&$crate::Scene::new($crate::Kind::RedisCluster));
            }
        }
    };
}
