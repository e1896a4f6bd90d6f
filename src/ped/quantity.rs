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

#[cfg(test)]
mod tests {
    use super::parse;

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
