//! Finds keys of other programs where ours should be.

use redis::Value;

use super::call::Call;
use super::line::Line;

/// Keys of a queue, or of the namespace, and the type that each has if it is ours.
const TYPES: [(&str, &str); 18] = [
    ("seq", "string"),
    ("w", "string"),
    ("d", "zset"),
    ("x", "zset"),
    ("p", "zset"),
    ("l", "zset"),
    ("u", "zset"),
    ("e:S", "zset"),
    ("e:D", "zset"),
    ("e:O", "zset"),
    ("t", "set"),
    ("a", "hash"),
    ("z", "hash"),
    ("layout", "string"),
    ("queues", "set"),
    ("tasks", "hash"),
    ("fleet", "zset"),
    ("b", "none"),
];

/// The first key below `tag` whose type is not ours; else what such keys begin with.
pub(super) fn find(line: &mut Line, tag: &str) -> String {
    let call =
        |(name, _): &(&str, &str)| Call::plain(&[b"TYPE", format!("{tag}{name}").as_bytes()]);
    let calls: Vec<_> = TYPES.iter().map(call).collect();
    let found = line.run(&calls).unwrap_or_default();
    for ((name, ours), found) in TYPES.iter().zip(found) {
        if let Value::SimpleString(found) = found
            && found != *ours
            && found != "none"
        {
            return format!("`{tag}{name}` is a {found}");
        }
    }
    format!("a key below `{tag}` has another type")
}
