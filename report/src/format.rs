//! Numbers as people read them. A number that is not finite is `n/a` everywhere.

const MISSING: &str = "n/a";

/// Above this, digits before the point no longer say anything, and a number is written with an
/// exponent.
const HUGE: f64 = 1e9;

/// `1,234,567`.
pub(crate) fn count(n: impl TryInto<u64>) -> String {
    let digits = n.try_into().unwrap_or(u64::MAX).to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// In millions, with at least three significant digits and without a unit: `3.21`, `573.2`,
/// `0.0617`.
pub(crate) fn millions(n: u64) -> String {
    let value = n as f64 / 1e6;
    let decimals = match n {
        0 => 0,
        1..10_000 => 6,
        10_000..100_000 => 4,
        100_000..1_000_000 => 3,
        1_000_000..100_000_000 => 2,
        _ => 1,
    };
    format!("{value:.decimals$}")
}

/// With a fixed number of decimals.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        MISSING.to_owned()
    } else if value.abs() >= HUGE {
        format!("{value:.3e}")
    } else {
        format!("{value:.decimals$}")
    }
}

/// A number of any size with the digits that it has, three decimals at most: `12`, `3.25`,
/// `1,250,000`.
pub(crate) fn amount(value: f64) -> String {
    if value.fract() == 0.0 && (0.0..HUGE * 1e3).contains(&value) {
        return count(value as u64);
    }
    let text = fixed(value, 3);
    match text.contains(['e', '/']) {
        true => text,
        false => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

/// Milliseconds, to the microsecond, without a unit.
pub(crate) fn ms(value: f64) -> String {
    fixed(value, 3)
}

/// Millions of bytes, without a unit; nothing where the number is not known.
pub(crate) fn megabytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| fixed(bytes as f64 / 1e6, 1))
}

/// A share of 1 in percent, without the sign.
pub(crate) fn percent(share: f64) -> String {
    fixed(100.0 * share, 2)
}

/// `part` of `whole` in percent, without the sign.
pub(crate) fn percent_of(part: usize, whole: usize) -> String {
    percent(part as f64 / whole as f64)
}

/// A small difference: `1.91e-6`, `0`.
pub(crate) fn difference(value: f64) -> String {
    if !value.is_finite() {
        MISSING.to_owned()
    } else if value == 0.0 {
        "0".to_owned()
    } else {
        format!("{value:.2e}")
    }
}

/// A value of a curve: three significant digits, more before the point where it has them.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && size < 1e-3 {
        return difference(value);
    }
    fixed(
        value,
        if size >= 100.0 {
            0
        } else if size >= 10.0 {
            1
        } else if size >= 1.0 {
            2
        } else {
            3
        },
    )
}

/// Wall time with its units: `0.42 s`, `59.1 s`, `12 min 03 s`, `1 h 02 min 11 s`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds.abs() >= HUGE {
        return format!("{} s", fixed(seconds, 1));
    }
    if seconds < 59.95 {
        return format!("{seconds:.*} s", if seconds < 10.0 { 2 } else { 1 });
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours == 0 {
        format!("{minutes} min {seconds:02} s")
    } else {
        format!("{hours} h {minutes:02} min {seconds:02} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        let shown = [0_u64, 999, 1_000, 61_706, 3_214_567, u64::MAX].map(count);
        assert_eq!(
            shown,
            ["0", "999", "1,000", "61,706", "3,214,567", "18,446,744,073,709,551,615"]
        );
    }

    #[test]
    fn millions_keep_their_significant_digits() {
        let shown = [0, 321, 61_706, 617_060, 3_214_567, 57_321_456, 573_214_567].map(millions);
        assert_eq!(shown, ["0", "0.000321", "0.0617", "0.617", "3.21", "57.32", "573.2"]);
    }

    #[test]
    fn durations_carry_into_the_next_unit() {
        let shown = [0.0, 9.994, 59.94, 59.96, 723.4, 3599.6, 3731.0].map(duration);
        assert_eq!(
            shown,
            [
                "0.00 s",
                "9.99 s",
                "59.9 s",
                "1 min 00 s",
                "12 min 03 s",
                "1 h 00 min 00 s",
                "1 h 02 min 11 s"
            ]
        );
    }

    #[test]
    fn amounts_have_no_digits_that_say_nothing() {
        let shown = [0.0, 12.0, 3.25, 0.1 + 0.2, -2.0, 1_250_000.0, 1e300, f64::NAN].map(amount);
        assert_eq!(shown, ["0", "12", "3.25", "0.3", "-2", "1,250,000", "1.000e300", MISSING]);
    }

    #[test]
    fn what_is_no_number_is_said() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!([ms(value), percent(value), difference(value), short(value)], [MISSING; 4]);
            assert_eq!(duration(value), "n/a s");
        }
        assert_eq!(percent_of(0, 0), MISSING);
        assert_eq!(fixed(1e300, 3), "1.000e300");
    }

    #[test]
    fn memory_that_is_not_known_is_left_out() {
        assert_eq!([None, Some(0), Some(1_234_567_890)].map(megabytes), ["", "0.0", "1234.6"]);
    }

    #[test]
    fn small_numbers_do_not_vanish() {
        assert_eq!(difference(1.907e-6), "1.91e-6");
        assert_eq!(short(0.000_12), "1.20e-4");
        assert_eq!(short(0.0), "0.000");
        assert_eq!(short(1234.5), "1234");
    }
}
