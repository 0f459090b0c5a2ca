//! Lengths of time as text: etcd's bare milliseconds, or Go's durations (`5s`, `1m30s`, `1.5h`).

use std::time::Duration;

/// Reads a bare number of milliseconds or a Go duration; `None` for anything else, negative ones
/// included.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if let Some(number) = super::scalar::digits(text) {
        return number.parse().ok().map(Duration::from_millis);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (part, after) = element(rest)?;
        sum = sum.checked_add(part)?;
        rest = after;
    }
    Some(sum)
}

/// Reads one number with its unit; returns it with the rest of the text.
fn element(text: &str) -> Option<(Duration, &str)> {
    let number_end = text.find(|c: char| c != '.' && !c.is_ascii_digit())?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let nanos = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    Some((scaled(number, nanos)?, rest))
}

/// Multiplies a decimal number by a unit of `nanos`, without going through floating point.
fn scaled(number: &str, nanos: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut sum = whole.checked_mul(nanos)?;
    let mut unit = nanos;
    for digit in fraction.bytes() {
        unit /= 10;
        sum = sum.checked_add(unit.checked_mul(u64::from(digit - b'0'))?)?;
    }
    Some(Duration::from_nanos(sum))
}

/// Returns the shortest way to write `time` in one unit; [`duration`] reads it back.
pub(super) fn written(time: Duration) -> String {
    const UNITS: [(u128, &str); 6] = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let nanos = time.as_nanos();
    let whole = UNITS.iter().find(|(unit, _)| nanos > 0 && nanos.is_multiple_of(*unit));
    whole.map_or_else(|| "0s".to_owned(), |(unit, name)| format!("{}{name}", nanos / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_milliseconds() {
        assert_eq!(duration("30000"), Some(Duration::from_secs(30)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("5s", 5_000),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("1.s", 1_000),
            ("+2h", 7_200_000),
            ("1h15m30.918s", 4_530_918),
            ("250ms", 250),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(duration("3µs"), Some(Duration::from_nanos(3_000)));
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for text in ["", "+", "-5s", "+5", "s", ".s", "1..5s", "5 s", "5d", "5S", "soon", "1e3"] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(duration("99999999999h"), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for nanos in [0, 1, 1_500, 5_000_000, 1_500_000_000, 30_000_000_000, 7_200_000_000_000] {
            let time = Duration::from_nanos(nanos);
            assert_eq!(duration(&written(time)), Some(time));
        }
        assert_eq!(written(Duration::from_secs(30)), "30s");
        assert_eq!(written(Duration::from_millis(1_500)), "1500ms");
    }
}
