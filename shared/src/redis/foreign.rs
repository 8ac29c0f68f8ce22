//! Finds keys of other programs where ours should be.

use redis::Value;

use super::call::Call;
use super::line::Line;

/// Keys of a queue, or of the namespace, and the type that each has if it is ours.
const TYPES: [(&str, &str); 44] = [
    // Of earlier releases.
    ("seq", "string"),
    ("sealed", "string"),
    ("w", "string"),
    ("gate", "string"),
    ("d", "zset"),
    ("x", "zset"),
    ("p", "zset"),
    ("l", "zset"),
    ("u", "zset"),
    ("g", "zset"),
    ("h", "zset"),
    ("i", "zset"),
    ("e:S", "zset"),
    ("e:D", "zset"),
    ("e:O", "zset"),
    ("t", "set"),
    ("a", "hash"),
    ("z", "hash"),
    ("f", "hash"),
    ("y", "zset"),
    ("n", "zset"),
    ("q", "zset"),
    ("parked", "zset"),
    ("onces", "zset"),
    ("cap", "hash"),
    ("times", "hash"),
    ("due", "zset"),
    ("schedules", "hash"),
    ("checkpoints", "hash"),
    ("born", "string"),
    ("layout", "string"),
    ("queues", "set"),
    ("tasks", "hash"),
    ("fleet", "zset"),
    ("b", "none"),
    ("streams", "set"),
    ("spec", "hash"),
    ("at", "hash"),
    ("by", "hash"),
    ("logs", "string"),
    ("locks", "hash"),
    ("lends", "zset"),
    ("fence", "string"),
    ("scheduled", "set"),
];

/// The same for what the keys of jobs, tasks and supervisors begin with.
const FAMILIES: [(&str, &str); 19] = [
    ("m:", "string"),
    ("s:", "string"),
    ("o:", "string"),
    ("r:", "zset"),
    ("b:", "list"),
    ("v:", "set"),
    ("c:", "string"),
    ("once:", "string"),
    ("run:", "set"),
    ("park:", "zset"),
    ("j:", "hash"),
    ("k:", "hash"),
    ("ev:", "stream"),
    ("share:", "hash"),
    ("member:", "hash"),
    ("dead:", "zset"),
    ("log:", "hash"),
    ("logk:", "list"),
    ("sig:", "hash"),
];

/// What asks for the types of the keys below `tag`.
pub(super) fn types_of(tag: &str) -> Vec<Call> {
    let call =
        |(name, _): &(&str, &str)| Call::plain(&[b"TYPE", format!("{tag}{name}").as_bytes()]);
    TYPES.iter().map(call).collect()
}

/// The first key below `tag` whose type is not ours, by the answers to [`types_of`].
pub(super) fn first(tag: &str, answers: &[Value]) -> Option<String> {
    TYPES.iter().zip(answers).find_map(|((name, ours), found)| {
        let Value::SimpleString(found) = found else {
            return None;
        };
        let is_foreign = found != *ours && found != "none";
        is_foreign.then(|| format!("`{tag}{name}` is a {found}"))
    })
}

/// Says so if a key of the namespace is none of ours, by its name or its type.
pub(super) fn strange(key: &str, found: &str) -> Option<String> {
    let (_, name) = key.split_once('}').unwrap_or(("", key));
    let exact = TYPES.iter().find(|(known, _)| *known == name);
    let family = || FAMILIES.iter().find(|(start, _)| name.starts_with(start));
    match exact.or_else(family) {
        // It may have gone since it was seen.
        Some((_, ours)) if found == *ours || found == "none" => None,
        Some(_) => Some(format!("`{key}` is a {found}")),
        None => Some(format!("`{key}` is no key of ours")),
    }
}

/// The first key below `tag` whose type is not ours; else what such keys begin with.
pub(super) fn find(line: &mut Line, tag: &str) -> String {
    let found = line.run(&types_of(tag)).unwrap_or_default();
    first(tag, &found).unwrap_or_else(|| format!("a key below `{tag}` has another type"))
}
