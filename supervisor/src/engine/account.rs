//! Accounts of this host, by name.

use std::fs;
use std::io;

use nix::unistd::User;

/// The numbers of the user of that name and of its group, if there is one.
pub(super) fn numbers_of(name: &str) -> io::Result<Option<(u32, u32)>> {
    if cfg!(target_feature = "crt-static") {
        // The C library would load what `nsswitch.conf` names, and crash: only a program that is
        // linked dynamically can ask LDAP and the like.
        return match fs::read("/etc/passwd") {
            Ok(accounts) => Ok(find(&String::from_utf8_lossy(&accounts), name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
    }
    Ok(User::from_name(name)?.map(|user| (user.uid.as_raw(), user.gid.as_raw())))
}

/// As passwd(5) has it: name, password, number, number of the group.
fn find(accounts: &str, name: &str) -> Option<(u32, u32)> {
    // To the kernel the highest means that nothing is to change.
    let number = |text: &str| text.parse().ok().filter(|number| *number != u32::MAX);
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name);
        let uid = fields.nth(1).filter(|_| is_it)?;
        Some((number(uid)?, number(fields.next()?)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ACCOUNTS: &str = "\
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
# half:x:7
short:x
odd:x:many:1::/:
most:x:4294967295:1::/:
last:x:7:4294967295::/:
work:x:1000:1000:,,,:/home/work:/bin/sh
daemon:x:108:65534::/:
";

    #[test]
    fn a_name_is_found_among_the_accounts_as_a_whole() {
        let found = |name| find(ACCOUNTS, name);
        assert_eq!(found("root"), Some((0, 0)));
        assert_eq!(found("work"), Some((1000, 1000)));
        assert_eq!(found("daemon"), Some((108, 65534)));
        for name in [
            "", "nobod", "nobody:x", "half", "short", "odd", "most", "last", "bash",
        ] {
            assert_eq!(found(name), None, "{name:?}");
        }
    }

    #[test]
    fn this_host_has_a_root_and_nobody_of_no_name() {
        assert_eq!(numbers_of("root").unwrap(), Some((0, 0)));
        assert_eq!(numbers_of("no such account").unwrap(), None);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(accounts in "[a:\n0-9x]{0,60}", name in "[a:]{0,3}") {
            let _ = find(&accounts, &name);
        }
    }
}
