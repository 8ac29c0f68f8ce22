//! What of the common parts a script needs. The server runs the whole text of a script at each call,
//! so a function that nobody calls takes its time as well.

/// Leaves out the functions that nothing behind them names. A function begins with a line `local
/// function name(`, and ends with the next line that is `end`, or in the same one.
pub(super) fn of(text: &str) -> String {
    let mut lines = text.lines();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        let name = function(line);
        let mut block = vec![line];
        if name.is_some() && !line.ends_with(" end") {
            for line in lines.by_ref() {
                block.push(line);
                if line == "end" {
                    break;
                }
            }
        }
        blocks.push((name, block));
    }
    let mut needed: Vec<Vec<&str>> = Vec::new();
    for (name, block) in blocks.into_iter().rev() {
        let mut behind = needed.iter().flatten();
        if name.is_none_or(|name| behind.any(|line| has_word(line, name))) {
            needed.push(block);
        }
    }
    needed.reverse();
    needed.concat().join("\n")
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
                match function(line) {
                    Some(name) if !line.ends_with(" end") => open = Some(name),
                    _ if line == "end" => open = None,
                    _ => {}
                }
            }
            assert_eq!(open, None, "{}", path.display());
        }
    }
}
