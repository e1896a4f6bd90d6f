//! Kubernetes resource quantities: `500m`, `2`, `1.5`, `4Gi`, `1e3`.
//!
//! Source of truth: the grammar in
//! [resource.Quantity](https://pkg.go.dev/k8s.io/apimachinery/pkg/api/resource#Quantity).

/// The value of a quantity in its base unit (cores, bytes); `None` when it is not one, or negative.
pub fn parse(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024_f64,
        "Mi" => 1024_f64.powi(2),
        "Gi" => 1024_f64.powi(3),
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        exponent => 10_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    Some(number * factor)
}

/// The value of a quantity in thousandths of its base unit (millicores), exact; what is left over is rounded up, as
/// Kubernetes does. `None` when it is no quantity, negative, or more than 64 bits hold.
pub fn thousandths(text: &str) -> Option<i64> {
    scaled(text, 3)
}

/// The same in its base unit (bytes).
pub fn units(text: &str) -> Option<i64> {
    scaled(text, 0)
}

/// The value times a power of ten.
fn scaled(text: &str, power: i32) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (binary, decimal) = factor(suffix)?;
    let places = i32::try_from(fraction.trim_end_matches('0').len()).ok()?;
    let mantissa: i128 = format!("{whole}{}", fraction.trim_end_matches('0')).parse().ok().or_else(|| {
        // `.0` has a number, too.
        (whole.is_empty() && !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0')).then_some(0)
    })?;
    let mantissa = mantissa.checked_mul(1024_i128.checked_pow(binary)?)?;
    let power = power.checked_add(decimal)?.checked_sub(places)?;
    let ten = 10_i128.checked_pow(power.unsigned_abs());
    let value = match ten {
        _ if mantissa == 0 => 0,
        Some(ten) if power >= 0 => mantissa.checked_mul(ten)?,
        Some(ten) => mantissa.checked_add(ten - 1)? / ten,
        None if power >= 0 => return None,
        None => 1,
    };
    i64::try_from(value).ok()
}

/// What a suffix stands for: a power of 1024, and one of ten.
fn factor(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (1, 0),
        "Mi" => (2, 0),
        "Gi" => (3, 0),
        "Ti" => (4, 0),
        "Pi" => (5, 0),
        "Ei" => (6, 0),
        exponent => (0, exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::{parse, thousandths, units};

    #[test]
    fn a_quantity_is_exact_in_whole_numbers_and_rounded_up() {
        for (text, expected) in [
            ("500m", Some(500)),
            ("2", Some(2000)),
            ("1.5", Some(1500)),
            (".1", Some(100)),
            ("2.", Some(2000)),
            (".0", Some(0)),
            ("0.0", Some(0)),
            ("100u", Some(1)),
            ("1n", Some(1)),
            ("0.29", Some(290)),
            ("1e-99", Some(1)),
            ("1.0000000000000000000000000000000000000000000000", Some(1000)),
            ("9223372036854775807", None),
            ("1e99", None),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("-1", None),
            ("1e", None),
            ("2 ", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
        for (text, expected) in [
            ("4Gi", Some(4_294_967_296)),
            ("4G", Some(4_000_000_000)),
            ("0.1Ki", Some(103)),
            ("512m", Some(1)),
            ("7Ei", Some(8_070_450_532_247_928_832)),
            ("8Ei", None),
        ] {
            assert_eq!(units(text), expected, "{text}");
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, value) in
            [("500m", 0.5), ("2", 2.0), ("1.5", 1.5), ("4Gi", 4_294_967_296.0), ("1e3", 1000.0), ("1E", 1e18)]
        {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for text in ["", "4gb", "two", "-1", "4 Gi", "Gi", "1.2.3", "1e", "é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
