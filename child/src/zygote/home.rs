//! `HOME` and `TMPDIR` of a task process.

use std::cell::UnsafeCell;

/// The variables.
const NAMES: [&str; 2] = ["HOME", "TMPDIR"];

/// Bytes of such a variable with its name; a longer one goes the usual way.
const ROOM: usize = 256;

/// The variables as the environment points to them. Kept where a new process writes anyway: to set
/// a variable in the usual way touches half a dozen pages of its own, each a page fault.
struct Places(UnsafeCell<[[u8; ROOM]; NAMES.len()]>);

thread_local! {
    static PLACES: Places = const { Places(UnsafeCell::new([[0; ROOM]; NAMES.len()])) };
}

/// Has the environment point to the places. Call it in a zygote before it forks.
pub(super) fn reserve() {
    for (place, name) in places().zip(NAMES) {
        // SAFETY: the place belongs to this thread, which lives as long as the process and is its
        // only one; nobody holds a reference to it.
        let place = unsafe { &mut *place };
        if place[0] == 0 {
            write(place, name, "/");
            // SAFETY: it ends with a zero, stays where it is, and no other thread reads or writes
            // the environment, as there is none.
            unsafe { libc::putenv(place.as_mut_ptr().cast()) };
        }
    }
}

/// Sets both. Call it in a fresh task process.
pub(super) fn set(path: &str) {
    for (place, name) in places().zip(NAMES) {
        // SAFETY: as above.
        let place = unsafe { &mut *place };
        if !write(place, name, path) {
            // SAFETY: as above.
            unsafe { std::env::set_var(name, path) };
        }
    }
}

fn places() -> impl Iterator<Item = *mut [u8; ROOM]> {
    let first: *mut [u8; ROOM] = PLACES.with(|places| places.0.get()).cast();
    // Of so many, as the array has.
    (0..NAMES.len()).map(move |place| first.wrapping_add(place))
}

/// Whether it fits.
fn write(place: &mut [u8; ROOM], name: &str, value: &str) -> bool {
    let parts = [name.as_bytes(), b"=", value.as_bytes(), b"\0"];
    if parts.iter().map(|part| part.len()).sum::<usize>() > ROOM {
        return false;
    }
    let mut rest = place.as_mut_slice();
    for part in parts {
        let (here, after) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_fits_ends_with_a_zero_and_others_are_left_alone() {
        let mut place = [7; ROOM];
        assert!(write(&mut place, "HOME", "/tmp/x"));
        assert!(place.starts_with(b"HOME=/tmp/x\0\x07"));
        let before = place;
        assert!(!write(&mut place, "HOME", &"x".repeat(ROOM - 5)));
        assert_eq!(place, before);
        assert!(write(&mut place, "HOME", &"x".repeat(ROOM - 6)));
    }
}
