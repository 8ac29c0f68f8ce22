//! Durations, sizes and names as `bulkhead_shared` reads them; a test compares the two.

/// About ten years: longer ones are typing errors.
const LONGEST_MS: f64 = 10.0 * 366.0 * 24.0 * 3_600_000.0;

/// Milliseconds of `1h30m` or `250ms`.
pub(crate) fn duration_ms(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 6] = [
        ("ms", 1.0),
        ("us", 1e-3),
        ("s", 1e3),
        ("m", 60e3),
        ("h", 3600e3),
        ("d", 86400e3),
    ];
    let wrong = || {
        format!(
            "`{text}` is not a duration (write a number and a unit: `250ms`, `30s`, `5m`, `2h`, `7d`)"
        )
    };
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut millis = 0.0;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest).ok_or_else(wrong)?;
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        millis += number * known.ok_or_else(wrong)?.1;
        rest = tail;
    }
    if millis > LONGEST_MS {
        return Err(format!(
            "duration `{text}` is longer than ten years (check the unit)"
        ));
    }
    Ok(whole(millis))
}

/// Bytes of `64KiB` or `1GiB`.
pub(crate) fn size_bytes(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "`{text}` is not a size (write a number and a unit: `4096`, `64KiB`, `512MiB`, `1GiB`)"
        )
    };
    let (number, unit) = split_number(text.trim()).ok_or_else(wrong)?;
    let scale = match unit {
        "" | "B" => 1.0,
        "K" | "KiB" => 1024.0,
        "M" | "MiB" => 1_048_576.0,
        "G" | "GiB" => 1_073_741_824.0,
        "T" | "TiB" => 1_099_511_627_776.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => return Err(wrong()),
    };
    let bytes = number * scale;
    if bytes < 9e18 {
        Ok(whole(bytes))
    } else {
        Err(wrong())
    }
}

/// Checks what a task or queue may be called.
pub(crate) fn check_name(kind: &str, name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:/@+".contains(c);
    if name.is_empty() {
        return Err(format!(
            "a {kind} name is empty (give it at least one letter)"
        ));
    }
    if name.len() > 128 {
        return Err(format!(
            "{kind} name has {} bytes, more than 128 (shorten it)",
            name.len()
        ));
    }
    match name.chars().find(|&c| !allowed(c)) {
        Some(found) => Err(format!(
            "{kind} name `{name}` contains {found:?} (use letters, digits and `_ - . : / @ +`)"
        )),
        None => Ok(()),
    }
}

fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    number.parse().ok().map(|number| (number, rest))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "both callers have checked the range; only fractions of a unit are cut"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_shared::{TaskName, units};

    #[test]
    fn the_attribute_and_the_shared_crate_read_the_same_units() {
        for text in [
            "0",
            "0s",
            "250ms",
            "30s",
            "1.5s",
            "1h30m",
            "7d",
            "",
            "5",
            "s",
            "-1s",
            "1 s",
            "1y",
            ".",
            "999999d",
            "4000d",
            "999999999d",
        ] {
            let shared = units::duration(text).ok();
            let shared = shared.map(|d| u64::try_from(d.as_millis()).unwrap());
            assert_eq!(duration_ms(text).ok(), shared, "{text:?}");
        }
        for text in [
            "0",
            "4096",
            "64KiB",
            "512MiB",
            "1.5GiB",
            "1MB",
            "1T",
            "",
            "GiB",
            "-1",
            "1XiB",
            "99999999999999999999",
        ] {
            let shared = text.parse::<units::Size>().ok().map(|size| size.0);
            assert_eq!(size_bytes(text).ok(), shared, "{text:?}");
        }
        for name in [
            "add",
            "a.b-c:d/e@f+g_1",
            "",
            "a b",
            "gr\u{f6}sse",
            "{}",
            &"x".repeat(129),
        ] {
            assert_eq!(
                check_name("task", name).is_ok(),
                TaskName::new(name).is_ok(),
                "{name:?}"
            );
        }
    }
}
