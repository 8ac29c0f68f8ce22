//! Which pages of its program a process touches, and a zygote that hands just these down.
//!
//! A fork copies no page tables of files, since a page fault can fill them again. For a short task
//! that is the wrong trade: it touches a few dozen pages of its program, each fault takes a microsecond
//! and maps sixteen pages around, and all of them are taken down a moment later. Where a mapping
//! has a page of its own (`vma_needs_copy` in `mm/memory.c` of Linux), fork copies its table as
//! well: so a zygote gives itself such a page and keeps nothing mapped but what tasks will touch.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::check;

/// Most pages that are looked at; what lies behind them is left to page faults. A large program
/// would take as long to look at as it saves.
const MOST: usize = 16 << 10;

/// A page is in memory, as the kernel's table of a process has it.
const PRESENT: u64 = 1 << 63;

/// It was written out.
const SWAPPED: u64 = 1 << 62;

/// It is the file's, no copy.
const OF_FILE: u64 = 1 << 61;

/// What is mapped of a program and its libraries, and never written to.
#[derive(Debug)]
pub(crate) struct Program {
    mappings: Vec<Mapping>,
    page: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
    is_code: bool,
}

impl Program {
    /// This process's, as seen in this `/proc`.
    pub(crate) fn look(proc: BorrowedFd<'_>) -> io::Result<Self> {
        let maps = io::read_to_string(open(proc, "self/maps")?)?;
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
        let page = page.and_then(|page| usize::try_from(page).ok());
        let page = page.ok_or(io::ErrorKind::Unsupported)?;
        let table = open(proc, "self/pagemap")?;
        let mut mappings = Vec::new();
        let mut rest = MOST;
        for mapping in maps.lines().filter_map(Mapping::parse) {
            if mapping.pages(page) > rest {
                continue;
            }
            let pages = mapping.entries(&table, page)?;
            let is_unwritten = |entry: &u64| {
                entry & SWAPPED == 0 && (entry & PRESENT == 0 || entry & OF_FILE != 0)
            };
            if pages.iter().all(is_unwritten) {
                rest -= pages.len();
                mappings.push(mapping);
            }
        }
        Ok(Self { mappings, page })
    }

    /// From here on every page that this process touches can be told from its neighbours.
    pub(crate) fn watch(&self) -> io::Result<()> {
        for mapping in &self.mappings {
            // A fault maps what lies around as well, as far as the mapping goes. Advice that
            // differs makes a mapping of each page.
            for page in (mapping.start..mapping.end).step_by(2 * self.page) {
                advise(page, page + self.page, libc::MADV_RANDOM)?;
            }
            advise(mapping.start, mapping.end, libc::MADV_DONTNEED)?;
        }
        Ok(())
    }

    /// A byte for each page: whether this process has touched it.
    pub(crate) fn touched(&self, table: &File) -> io::Result<Vec<u8>> {
        let mut touched = Vec::new();
        for mapping in &self.mappings {
            let entries = mapping.entries(table, self.page)?;
            touched.extend(entries.iter().map(|entry| u8::from(entry & PRESENT != 0)));
        }
        Ok(touched)
    }

    /// Maps what was touched, and nothing else, in a way that forks copy.
    pub(crate) fn keep(&self, touched: &[u8]) -> io::Result<()> {
        let mut rest = touched;
        for mapping in &self.mappings {
            let pages = mapping.pages(self.page);
            let (touched, others) = rest
                .split_at_checked(pages)
                .ok_or(io::ErrorKind::InvalidData)?;
            rest = others;
            if !touched.contains(&1) {
                continue;
            }
            mapping.own_a_page(self.page)?;
            let mut at = mapping.start;
            // Whatever is read brings its neighbours, so all of it comes first.
            for &is_touched in touched {
                if is_touched == 1 {
                    read(at);
                }
                at += self.page;
            }
            at = mapping.start;
            for alike in touched.chunk_by(|one, next| one == next) {
                let end = at + alike.len() * self.page;
                // Its own page stays, as a sign.
                let other = end.min(mapping.end - self.page);
                if alike.first() != Some(&1) && at < other {
                    advise(at, other, libc::MADV_DONTNEED)?;
                }
                at = end;
            }
        }
        Ok(())
    }
}

impl Mapping {
    /// A line of `maps` (proc(5)): a private mapping of a file that cannot be written to.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let is_code = match words.next()? {
            "r--p" => false,
            "r-xp" => true,
            _ => return None,
        };
        words.nth(3)?.starts_with('/').then_some(())?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(Self {
            start: address(start)?,
            end: address(end)?,
            is_code,
        })
    }

    const fn pages(&self, page: usize) -> usize {
        (self.end - self.start) / page
    }

    /// What the kernel's table says of its pages (`Documentation/admin-guide/mm/pagemap.rst`).
    #[expect(
        clippy::host_endian_bytes,
        reason = "the kernel's, which is this host's"
    )]
    fn entries(&self, table: &File, page: usize) -> io::Result<Vec<u64>> {
        const ENTRY: usize = size_of::<u64>();
        let mut bytes = vec![0; self.pages(page) * ENTRY];
        table.read_exact_at(&mut bytes, (self.start / page * ENTRY) as u64)?;
        let (entries, _) = bytes.as_chunks();
        Ok(entries
            .iter()
            .map(|&entry| u64::from_ne_bytes(entry))
            .collect())
    }

    /// Makes its last page this process's own.
    fn own_a_page(&self, page: usize) -> io::Result<()> {
        let before = match self.is_code {
            true => libc::PROT_READ | libc::PROT_EXEC,
            false => libc::PROT_READ,
        };
        // All of it: parts that were protected apart stay apart.
        self.protect(before | libc::PROT_WRITE)?;
        let byte = std::ptr::with_exposed_provenance_mut::<u8>(self.end - page);
        // SAFETY: the page is mapped and may be read.
        let as_it_was = unsafe { byte.read_volatile() };
        // SAFETY: it may be written to since the call above, and nothing changes; this process has
        // one thread.
        unsafe { byte.write_volatile(as_it_was) };
        self.protect(before)
    }

    fn protect(&self, protection: libc::c_int) -> io::Result<()> {
        let place = std::ptr::with_exposed_provenance_mut(self.start);
        // SAFETY: takes no right away that the mapping had when the program started.
        check(unsafe { libc::mprotect(place, self.end - self.start, protection) }.into())?;
        Ok(())
    }
}

/// A file of this `/proc`.
fn open(proc: BorrowedFd<'_>, path: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    Ok(File::from(openat(
        proc.as_fd(),
        path,
        flags,
        Mode::empty(),
    )?))
}

/// Its pages, for [`Program::touched`]: opened while they can be.
pub(crate) fn table(proc: BorrowedFd<'_>) -> io::Result<File> {
    open(proc, "self/pagemap")
}

fn read(page: usize) {
    let byte = std::ptr::with_exposed_provenance::<u8>(page);
    // SAFETY: lies in a mapping that may be read and that this process never unmaps.
    let _ = unsafe { byte.read_volatile() };
}

fn advise(start: usize, end: usize, advice: libc::c_int) -> io::Result<()> {
    let place = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: lies in a private mapping of a file that nobody has written to: whatever the kernel
    // forgets of it, it reads again.
    check(unsafe { libc::madvise(place, end - start, advice) }.into())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::waitpid;
    use nix::unistd::{ForkResult, fork};
    use proptest::prelude::*;
    use std::io::Read;

    fn proc() -> File {
        File::open("/proc").unwrap()
    }

    #[test]
    fn only_private_mappings_of_files_that_nobody_writes_to_count() {
        let line = |rights: &str, path: &str| {
            Mapping::parse(&format!("1000-3000 {rights} 00000000 fe:00 17   {path}"))
        };
        let mapping = |is_code| {
            let (start, end) = (0x1000, 0x3000);
            Some(Mapping {
                start,
                end,
                is_code,
            })
        };
        assert_eq!(line("r-xp", "/bin/child"), mapping(true));
        assert_eq!(line("r--p", "/bin/a child"), mapping(false));
        for rights in ["rw-p", "rwxp", "r-xs", "---p", ""] {
            assert_eq!(line(rights, "/bin/child"), None, "{rights}");
        }
        for path in ["", "[vdso]", "[heap]", "anon_inode:x"] {
            assert_eq!(line("r-xp", path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line in ".{0,80}") {
            let _ = Mapping::parse(&line);
        }
    }

    #[test]
    fn a_fork_finds_what_its_parent_keeps_and_nothing_else() {
        let program = Program::look(proc().as_fd()).unwrap();
        let own = table(proc().as_fd()).unwrap();
        let pages = program.touched(&own).unwrap().len();
        // Every eighth page, wherever it lies.
        let wanted: Vec<u8> = (0..pages).map(|page| u8::from(page % 8 == 0)).collect();
        program.keep(&wanted).unwrap();
        let (mut held, hold) = io::pipe().unwrap();
        // SAFETY: the new process only calls read and _exit.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                // The write end is open here as well: this waits to be killed.
                let _ = held.read(&mut [0]);
                crate::sys::leave(0)
            }
        };
        let its = File::open(format!("/proc/{child}/pagemap")).unwrap();
        let found = program.touched(&its).unwrap();
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).unwrap();
        waitpid(child, None).unwrap();
        drop(hold);
        let both = |here: u8, there: u8| {
            let pairs = wanted.iter().zip(&found);
            pairs
                .filter(|&(&wanted, &found)| (wanted, found) == (here, there))
                .count()
        };
        assert_eq!(both(1, 0), 0, "pages that were kept are not there");
        // What this process has run since was mapped again, with what lies around.
        assert!(both(0, 1) < pages / 2, "{} of {pages}", both(0, 1));
    }

    #[test]
    fn who_is_watched_touches_single_pages() {
        let program = Program::look(proc().as_fd()).unwrap();
        let own = table(proc().as_fd()).unwrap();
        program.watch().unwrap();
        let touched = program.touched(&own).unwrap();
        let lone = |around: &&[u8]| **around == [0, 1, 0];
        assert!(touched.windows(3).filter(lone).count() > 0);
    }

    #[test]
    fn an_answer_that_is_too_short_changes_nothing() {
        let program = Program::look(proc().as_fd()).unwrap();
        assert!(program.keep(&[]).is_err());
    }
}
