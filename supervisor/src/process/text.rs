//! The supervisor's own program in memory. Its start runs through much code that nothing after it
//! needs, and each page fault there maps the pages around as well: 64 kB (`fault_around_bytes`), or
//! whatever the kernel holds in one piece, up to 2 MB. All of them count as this process's, and as in
//! use, until somebody else wants memory.

use std::io;
use std::ptr;

/// What a page fault maps at the most from here on. Larger than a page, since each fault takes time.
const BLOCK: usize = 16 << 10;

/// Lets go of the program's code: the kernel keeps it as long as it likes, and what runs is mapped
/// again by page faults. Code of which anything was written to (by a debugger, a probe, a loader) is left
/// alone, as are libraries, which other threads may be loading.
pub(crate) fn let_go() -> io::Result<()> {
    let smaps = std::fs::read_to_string("/proc/self/smaps")?;
    let here = (let_go as *const ()).addr();
    if let Some((start, end)) = code(&smaps, here) {
        forget(start, end);
    }
    Ok(())
}

/// Where the code around `place` lies, as its file has it, of what `smaps` tells (proc(5)).
fn code(smaps: &str, place: usize) -> Option<(usize, usize)> {
    let mut found = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next()?, words.next()) {
            // Pages of its own, in memory and elsewhere.
            ("Anonymous:" | "Swap:", Some(kb)) if kb != "0" => found = None,
            (name, _) if name.ends_with(':') => {}
            (range, rights) => {
                if found.is_some() {
                    break;
                }
                let is_code = rights == Some("r-xp");
                let is_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
                let around = parse(range).filter(|(start, end)| (*start..*end).contains(&place));
                found = around.filter(|_| is_code && is_file);
            }
        }
    }
    found
}

fn parse(range: &str) -> Option<(usize, usize)> {
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some((address(start)?, address(end)?))
}

fn forget(start: usize, end: usize) {
    let advise = |start, end, advice| {
        let place = ptr::with_exposed_provenance_mut(start);
        // SAFETY: it lies in a private mapping of the program, which is there to the end, and which
        // nobody has written to, or may: what is forgotten of it is read from its file again.
        unsafe { libc::madvise(place, end - start, advice) };
    };
    advise(start, end, libc::MADV_DONTNEED);
    // No fault maps more than its mapping, and blocks that differ are mappings of their own. They
    // differ in what a core dump leaves out: the file's contents, which it hardly ever has.
    for block in (start + BLOCK..end).step_by(2 * BLOCK) {
        advise(block, end.min(block + BLOCK), libc::MADV_DONTDUMP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of this program's code is mapped, and how much there is; in kB.
    fn mapped() -> (u64, u64) {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let program = std::env::current_exe().unwrap();
        let program = program.to_str().unwrap();
        let mut is_code = false;
        let (mut mapped, mut size) = (0, 0);
        for line in smaps.lines() {
            let kb = |name| -> Option<u64> {
                let kb = line.strip_prefix(name)?.trim().strip_suffix(" kB")?;
                kb.parse().ok().filter(|_| is_code)
            };
            mapped += kb("Rss:").unwrap_or(0);
            size += kb("Size:").unwrap_or(0);
            if line.contains(" r-xp ") || line.contains(" r--p ") || line.contains(" rw-p ") {
                is_code = line.contains(" r-xp ") && line.ends_with(program);
            }
        }
        (mapped, size)
    }

    #[test]
    fn what_was_run_once_is_let_go_and_runs_again() {
        let words = |count: usize| format!("{:?}", vec![Some(count); 3]);
        let said = words(7);
        let (before, size) = mapped();
        let_go().unwrap();
        let (left, same) = mapped();
        assert!(left < before, "{left} of {before} kB are left, of {size}");
        assert!(left < size / 2, "{left} of {size} kB are left");
        assert_eq!(same, size);
        assert_eq!(words(7), said);
    }

    #[test]
    fn only_code_that_nobody_wrote_to_counts() {
        let smaps = |range: &str, rights: &str, path: &str, own: &str, swap: &str| {
            let page = format!("{range} {rights} 00000000 fe:00 17     {path}\nSize:   8 kB\n");
            let rest = format!("Anonymous:   {own} kB\nSwap:   {swap} kB\nVmFlags: rd ex\n");
            [page, rest].concat()
        };
        let found = |rights, path, own, swap| {
            let before = smaps("1000-2000", "r-xp", "/lib/other", "0", "0");
            let it = smaps("2000-4000", rights, path, own, swap);
            let after = smaps("4000-5000", "r-xp", "/lib/other", "4", "0");
            code(&[before, it, after].concat(), 0x3FFF)
        };
        assert_eq!(found("r-xp", "/bin/a b", "0", "0"), Some((0x2000, 0x4000)));
        for (rights, path, own, swap) in [
            ("r--p", "/bin/a", "0", "0"),
            ("rwxp", "/bin/a", "0", "0"),
            ("r-xs", "/bin/a", "0", "0"),
            ("r-xp", "", "0", "0"),
            ("r-xp", "[vdso]", "0", "0"),
            ("r-xp", "/bin/a", "12", "0"),
            ("r-xp", "/bin/a", "0", "4"),
        ] {
            let found = found(rights, path, own, swap);
            assert_eq!(found, None, "{rights} {path} {own} {swap}");
        }
        for odd in [
            "",
            "\n",
            ":\n- r-xp\nAnonymous: 4",
            "0-ffffffffffffffff r-xp",
        ] {
            assert_eq!(code(odd, 0x3FFF), None, "{odd:?}");
        }
    }
}
