//! What of the common parts a script needs, and where. The server runs the whole text of a script at
//! each call, and to make a function takes it about half a microsecond: so those that nobody calls are
//! left out, and those that only a function needs that seldom runs are made when that one runs.

/// How the first line ends of a function, or of an `if`, that seldom runs, or once at the most.
const SELDOM: &str = " -- seldom";

/// Leaves out the functions that nothing behind them names, and moves those that only seldom parts name
/// into each of these. A function begins with a line `local function name(`, and ends with the next line
/// that is `end`, or in the same one.
pub(super) fn of(text: &str) -> String {
    let mut lines = text.lines();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        let mut block = vec![line];
        if is_open(line) {
            for line in lines.by_ref() {
                block.push(line);
                if line == "end" {
                    break;
                }
            }
        }
        blocks.push(block);
    }
    // From the last on, so that who names a function is at its place before that one's is sought.
    for place in (0..blocks.len()).rev() {
        let Some(name) = function(blocks[place][0]) else {
            continue;
        };
        let block = std::mem::take(&mut blocks[place]);
        let behind = &mut blocks[place + 1..];
        let names = |user: &&mut Vec<&str>| user.iter().any(|line| has_word(line, name));
        let mut users: Vec<_> = behind.iter_mut().filter(names).collect();
        if users.iter().all(|user| user[0].ends_with(SELDOM)) {
            for user in &mut users {
                user.splice(1..1, block.iter().copied());
            }
        } else {
            blocks[place] = block;
        }
    }
    blocks.concat().join("\n")
}

/// Whether more lines belong to what begins with this one.
fn is_open(line: &str) -> bool {
    line.ends_with(SELDOM) || (function(line).is_some() && !line.ends_with(" end"))
}

fn function(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("local function ")?.split_once('(')?;
    Some(name)
}

fn has_word(line: &str, word: &str) -> bool {
    let is_comment = line.trim_start().starts_with("--");
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    !is_comment && words.any(|one| one == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
local a = 1
local function short(n) return n end
-- About long.
local function long(n)
  if n then
    return short(n)
  end
end
local function again(n)
  -- Not by long.
  return n and again(n - 1)
end
if a then
  a = 2
end
";

    #[test]
    fn a_function_stays_if_something_behind_it_names_it() {
        let with = |last: &str| of(&[TEXT, last].concat());
        let all = with("return long(a), again(a)");
        assert_eq!(all, [TEXT, "return long(a), again(a)"].concat());
        let longer = with("return long(a)");
        assert!(longer.contains("long(n)") && longer.contains("short(n) return"));
        assert!(!longer.contains("again"), "{longer}");
        let shorter = with("return short(a)");
        assert!(!shorter.contains("long(n)"), "{shorter}");
        assert!(shorter.contains("if a then\n  a = 2\nend\n"), "{shorter}");
    }

    #[test]
    fn what_only_seldom_parts_need_is_made_in_each_of_them() {
        let seldom = "\
local function rare(n) -- seldom
  return long(n)
end
if a then -- seldom
  a = long(1)
end
return a and rare(a)";
        let left = of(&[TEXT, seldom].concat());
        let expected = "\
local a = 1
-- About long.
if a then
  a = 2
end
local function rare(n) -- seldom
local function short(n) return n end
local function long(n)
  if n then
    return short(n)
  end
end
  return long(n)
end
if a then -- seldom
local function short(n) return n end
local function long(n)
  if n then
    return short(n)
  end
end
  a = long(1)
end
return a and rare(a)";
        assert_eq!(left, expected);
        let often = of(&[TEXT, seldom, ", long(2)"].concat());
        assert!(
            often.starts_with("local a = 1\nlocal function short"),
            "{often}"
        );
    }

    /// Names of a script's own, line by line: of parts that move a name must not mean another thing
    /// elsewhere.
    fn names(line: &str) -> Vec<&str> {
        let named = line.strip_prefix("local ");
        let list = named.map(|named| named.split(" =").next().unwrap_or_default());
        function(line).map_or_else(
            || list.map_or_else(Vec::new, |list| list.split(", ").collect()),
            |name| vec![name],
        )
    }

    #[test]
    fn what_moves_finds_the_same_names_wherever_it_goes() {
        for (name, text) in super::super::script::texts() {
            let mut known = std::collections::HashSet::new();
            for line in text.lines() {
                for one in names(line) {
                    assert!(known.insert(one), "{name} has two of `{one}`");
                }
                if line.ends_with(SELDOM) && function(line).is_some() {
                    let (_, list) = line.split_once('(').unwrap();
                    let (list, _) = list.split_once(')').unwrap();
                    let hidden = list.split(", ").find(|one| known.contains(one));
                    assert_eq!(hidden, None, "{name}: {line}");
                }
            }
        }
    }

    #[test]
    fn neither_a_comment_nor_a_longer_name_needs_a_function() {
        let left = of(&[TEXT, "-- as long\nreturn shorter, long_ago, a"].concat());
        assert!(!left.contains("function"), "{left}");
    }

    #[test]
    fn what_stands_behind_dashes_in_a_text_counts() {
        let left = of(&[TEXT, "return '--' .. short(a)"].concat());
        assert!(left.contains("short(n) return n"), "{left}");
    }

    #[test]
    fn functions_of_scripts_end_where_this_looks_for_their_end() {
        let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/src/redis/scripts");
        for script in std::fs::read_dir(scripts).unwrap() {
            let path = script.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let mut open = None;
            for line in text.lines() {
                let is_inside = line.is_empty() || line.starts_with(' ') || line == "end";
                assert!(open.is_none() || is_inside, "{}: {open:?}", path.display());
                let is_nested = line.starts_with(' ') && line.ends_with(SELDOM);
                assert!(!is_nested, "{}: {line}", path.display());
                if is_open(line) {
                    open = Some(line);
                } else if line == "end" {
                    open = None;
                }
            }
            assert_eq!(open, None, "{}", path.display());
        }
    }
}
