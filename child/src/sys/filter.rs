//! Filters of system calls, as the supervisor composed them.

use std::io;

use super::check;

/// Instructions of one filter at the most, as the kernel says.
const LONGEST: usize = 4096;

/// Enters a filter for good. Each number is one instruction: code, jumps and operand, from high to
/// low bits. Needs `no_new_privs`.
pub(crate) fn enter_filter(instructions: &[u64]) -> io::Result<()> {
    const SECCOMP_SET_MODE_FILTER: libc::c_uint = 1;
    if instructions.len() > LONGEST {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let program: Vec<libc::sock_filter> = instructions.iter().map(|&one| unpack(one)).collect();
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(u16::MAX),
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the call reads as many instructions as are said, which outlive it; the kernel checks
    // each of them.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            0,
            &raw const filter,
        )
    })?;
    Ok(())
}

fn unpack(one: u64) -> libc::sock_filter {
    let [a, b, jt, jf, k @ ..] = one.to_be_bytes();
    libc::sock_filter {
        code: u16::from_be_bytes([a, b]),
        jt,
        jf,
        k: u32::from_be_bytes(k),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_lies_in_the_bits_of_one_number() {
        let found = unpack(0x0006_0102_7fff_0000);
        assert_eq!(
            (found.code, found.jt, found.jf, found.k),
            (6, 1, 2, 0x7fff_0000)
        );
    }
}
