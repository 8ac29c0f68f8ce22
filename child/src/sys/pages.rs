//! Which pages of its program a process touches, and a zygote that hands just these down.
//!
//! A fork copies no page tables of files, since a page fault can fill them again. For a short task
//! that is the wrong trade: it faults in one part of its program after the other, each time with the
//! pages around (16 by default, `fault_around_bytes`), and all of them are taken down a moment later.
//! Where a process has ever had a page of its own in a mapping (`vma_needs_copy` in `mm/memory.c` of
//! Linux), fork copies its table as well: so a zygote gives itself one, and keeps nothing mapped but
//! what tasks will touch.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::Mode;

use super::check;

/// Most pages that are looked at: to look takes a system call for every other one. What lies behind
/// them is left to page faults.
const MOST: usize = 16 << 10;

/// A page is in memory, as the kernel's table of a process has it.
const PRESENT: u64 = 1 << 63;

/// It was written out.
const SWAPPED: u64 = 1 << 62;

/// It is the file's, no copy.
const OF_FILE: u64 = 1 << 61;

/// A process's own view of its memory: opened while it may be, used later.
#[derive(Debug)]
pub(crate) struct Memory {
    maps: File,
    table: File,
    bytes: File,
}

impl Memory {
    /// Of this process. Its descriptors lie from `lowest` on.
    pub(crate) fn open(proc: BorrowedFd<'_>, lowest: RawFd) -> io::Result<Self> {
        let open = |path, flags| {
            let opened = openat(proc, path, flags | OFlag::O_CLOEXEC, Mode::empty())?;
            above(opened.as_fd(), lowest).map(File::from)
        };
        Ok(Self {
            maps: open("self/maps", OFlag::O_RDONLY)?,
            table: open("self/pagemap", OFlag::O_RDONLY)?,
            bytes: open("self/mem", OFlag::O_RDWR)?,
        })
    }
}

/// A copy of a descriptor that lies from `lowest` on.
pub(crate) fn above(descriptor: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    let copy = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(lowest))?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

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
}

impl Program {
    /// This process's; of each mapping a page becomes its own.
    pub(crate) fn own(memory: &Memory) -> io::Result<Self> {
        let maps = io::read_to_string(&memory.maps)?;
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
        let page = page.and_then(|page| usize::try_from(page).ok());
        let page = page.ok_or(io::ErrorKind::Unsupported)?;
        let mut mappings = Vec::new();
        let mut rest = MOST;
        for mapping in maps.lines().filter_map(Mapping::parse) {
            if mapping.pages(page) > rest {
                continue;
            }
            let pages = mapping.entries(&memory.table, page)?;
            let is_unwritten = |entry: &u64| {
                entry & SWAPPED == 0 && (entry & PRESENT == 0 || entry & OF_FILE != 0)
            };
            // One that is longer than its file has no last page.
            if pages.iter().all(is_unwritten) && mapping.own_a_page(&memory.bytes, page).is_ok() {
                rest -= pages.len();
                mappings.push(mapping);
            }
        }
        Ok(Self { mappings, page })
    }

    /// Pages, all of them.
    pub(crate) fn pages(&self) -> usize {
        let pages = self.mappings.iter().map(|mapping| mapping.pages(self.page));
        pages.sum()
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

    /// Maps what was touched, and nothing else.
    pub(crate) fn keep(&self, touched: &[u8]) -> io::Result<()> {
        let mut rest = touched;
        for mapping in &self.mappings {
            let pages = mapping.pages(self.page);
            let (touched, others) = rest
                .split_at_checked(pages)
                .ok_or(io::ErrorKind::InvalidData)?;
            rest = others;
            if !touched.contains(&1) {
                advise(mapping.start, mapping.end, libc::MADV_DONTNEED)?;
                continue;
            }
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
        matches!(words.next()?, "r--p" | "r-xp").then_some(())?;
        words.nth(3)?.starts_with('/').then_some(())?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(Self {
            start: address(start)?,
            end: address(end)?,
        })
    }

    const fn pages(&self, page: usize) -> usize {
        (self.end - self.start) / page
    }

    /// Makes its last page this process's own, as a debugger does: a page that may not be written to is
    /// copied first. No right to it changes.
    fn own_a_page(&self, memory: &File, page: usize) -> io::Result<()> {
        let last = (self.end - page) as u64;
        let mut byte = [0];
        memory.read_exact_at(&mut byte, last)?;
        memory.write_all_at(&byte, last)
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
}

/// What the kernel tells of this process's pages, for [`Program::touched`].
pub(crate) fn table(proc: BorrowedFd<'_>) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    Ok(openat(proc, "self/pagemap", flags, Mode::empty())?.into())
}

/// Touches what lies at `place`, which is the program's.
pub(crate) fn touch(place: *const ()) {
    read(place.addr());
}

fn read(page: usize) {
    let byte = std::ptr::with_exposed_provenance::<u8>(page);
    // SAFETY: lies in a mapping that may be read and that this process never unmaps.
    let _ = unsafe { byte.read_volatile() };
}

fn advise(start: usize, end: usize, advice: libc::c_int) -> io::Result<()> {
    let place = std::ptr::with_exposed_provenance_mut(start);
    // SAFETY: lies in a private mapping of a file, of which only one page was written to, and that with
    // what it had: whatever the kernel forgets of it, it reads again.
    check(unsafe { libc::madvise(place, end - start, advice) }.into())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::leave;
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};
    use proptest::prelude::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;

    fn own() -> (Memory, Program) {
        let memory = Memory::open(File::open("/proc").unwrap().as_fd(), 10).unwrap();
        assert!(memory.bytes.as_raw_fd() >= 10);
        let program = Program::own(&memory).unwrap();
        (memory, program)
    }

    #[track_caller]
    fn in_a_fork(what: impl FnOnce() -> bool) {
        // SAFETY: the new process uses no lock but the allocator's, which outlives forks in glibc.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => leave(i32::from(!what())),
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
    }

    #[test]
    fn only_private_mappings_of_files_that_nobody_writes_to_count() {
        let line = |rights: &str, path: &str| {
            Mapping::parse(&format!("1000-3000 {rights} 00000000 fe:00 17   {path}"))
        };
        let (start, end) = (0x1000, 0x3000);
        for rights in ["r-xp", "r--p"] {
            assert_eq!(line(rights, "/bin/a child"), Some(Mapping { start, end }));
        }
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

    /// Whether a fork of this process has all of these pages, and not many others.
    fn are_handed_down(program: &Program, wanted: &[u8]) -> bool {
        let (mut held, hold) = io::pipe().unwrap();
        // SAFETY: the new process only calls read and _exit.
        let child = match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => child,
            ForkResult::Child => {
                // The write end is open here as well: this waits to be killed.
                let _ = held.read(&mut [0]);
                leave(0)
            }
        };
        let its = File::open(format!("/proc/{child}/pagemap")).unwrap();
        let found = program.touched(&its).unwrap();
        kill(child, Signal::SIGKILL).unwrap();
        waitpid(child, None).unwrap();
        drop(hold);
        let both = |here: u8, there: u8| {
            let pairs = wanted.iter().zip(&found);
            pairs
                .filter(|&(&wanted, &found)| (wanted, found) == (here, there))
                .count()
        };
        // What this process has run since was mapped again, with what lies around.
        both(1, 0) == 0 && both(0, 1) < program.pages() / 2
    }

    #[test]
    fn a_fork_finds_what_its_parent_keeps_and_little_else() {
        in_a_fork(|| {
            let (_, program) = own();
            // Every eighth page, wherever it lies.
            let wanted: Vec<u8> = (0..program.pages())
                .map(|page| u8::from(page % 8 == 0))
                .collect();
            program.keep(&wanted).is_ok() && are_handed_down(&program, &wanted)
        });
    }

    #[test]
    fn who_is_watched_touches_single_pages() {
        in_a_fork(|| {
            let (memory, program) = own();
            program.watch().unwrap();
            let touched = program.touched(&memory.table).unwrap();
            let is_lone = |around: &[u8]| *around == [0, 1, 0];
            touched.windows(3).any(is_lone)
        });
    }

    #[test]
    fn nothing_of_the_program_is_changed_and_no_right_to_it() {
        in_a_fork(|| {
            let code = || std::fs::read_to_string("/proc/self/maps").unwrap();
            let is_code = |line: &&str| line.contains(" r-xp ");
            let before = code();
            let (memory, program) = own();
            let bytes = || {
                let read = |mapping: &Mapping| {
                    let mut bytes = vec![0; mapping.end - mapping.start];
                    let at = mapping.start as u64;
                    memory.bytes.read_exact_at(&mut bytes, at).map(|()| bytes)
                };
                // Where the file of a mapping is shorter, only its first pages can be read.
                program.mappings.iter().flat_map(read).collect::<Vec<_>>()
            };
            let first = bytes();
            let kept = program.keep(&vec![1; program.pages()]).is_ok() && bytes() == first;
            let dropped = program.keep(&vec![0; program.pages()]).is_ok() && bytes() == first;
            let after = code();
            let lines = |text: &str| {
                text.lines()
                    .filter(is_code)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            !first.is_empty() && kept && dropped && lines(&before) == lines(&after)
        });
    }

    #[test]
    fn an_answer_that_is_too_short_is_an_error() {
        in_a_fork(|| own().1.keep(&[]).is_err());
    }
}
