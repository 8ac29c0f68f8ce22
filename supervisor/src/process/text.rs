//! The supervisor's own program in memory. Its start runs through much code that nothing after it
//! needs, and each page fault there maps the pages around as well: 64 kB (`fault_around_bytes`), or
//! whatever the kernel holds in one piece, up to 2 MB. All of them count as this process's, and as in
//! use, until somebody else wants memory.

use std::ffi::{c_int, c_void};
use std::ptr;

use nix::unistd::{SysconfVar, sysconf};

/// What a page fault maps at the most from here on. Larger than a page, since each fault takes time.
const BLOCK: usize = 16 << 10;

/// Lets go of all pages of the program and its libraries that cannot be written to: the kernel keeps
/// them as long as it likes, and what runs is mapped again by page faults. (A breakpoint that a
/// debugger has set before is gone as well.)
pub(crate) fn let_go() {
    // SAFETY: the function keeps nothing of what it is given, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(let_go_of), ptr::null_mut()) };
}

#[expect(clippy::cast_possible_truncation, reason = "addresses of this machine")]
unsafe extern "C" fn let_go_of(
    object: *mut libc::dl_phdr_info,
    _: libc::size_t,
    _: *mut c_void,
) -> c_int {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    let Some(page) = page.and_then(|page| usize::try_from(page).ok()) else {
        return 1;
    };
    // SAFETY: the loader gives each of its objects, which nobody changes meanwhile.
    let object = unsafe { &*object };
    let count = usize::from(object.dlpi_phnum);
    // SAFETY: as many headers lie there for as long as the object is loaded.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, count) };
    let is_fixed = |flags| flags & libc::PF_W == 0;
    let segments = headers.iter();
    for segment in segments.filter(|one| one.p_type == libc::PT_LOAD && is_fixed(one.p_flags)) {
        let address = object.dlpi_addr.wrapping_add(segment.p_vaddr) as usize;
        // It is mapped in whole pages.
        let start = address / page * page;
        let end = (address + segment.p_memsz as usize).next_multiple_of(page);
        forget(start, end);
    }
    0
}

fn forget(start: usize, end: usize) {
    let advise = |start, end, advice| {
        let place = ptr::with_exposed_provenance_mut(start);
        // SAFETY: it lies in a private mapping of a file that was never written to: what is forgotten of
        // it is read from there again. What the kernel cannot forget (the vdso, locked pages), it
        // refuses.
        unsafe { libc::madvise(place, end - start, advice) };
    };
    advise(start, end, libc::MADV_DONTNEED);
    // No fault maps more than its mapping, and blocks that differ are mappings of their own. They
    // differ in what a core dump leaves out: the file's contents, which it hardly ever has. The first
    // block keeps its place there: it names the program.
    for block in (start + BLOCK..end).step_by(2 * BLOCK) {
        advise(block, end.min(block + BLOCK), libc::MADV_DONTDUMP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much of this program's code is mapped, and how much there is; in kB.
    fn code() -> (u64, u64) {
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
        let before = words(7);
        let (mapped, size) = code();
        let_go();
        let (left, same) = code();
        assert!(left < mapped, "{left} of {mapped} kB are left, of {size}");
        assert!(left < size / 2, "{left} of {size} kB are left");
        assert_eq!(same, size);
        assert_eq!(words(7), before);
    }
}
