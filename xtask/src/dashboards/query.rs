//! PromQL of panels, written in a short notation.

/// Matchers in every selector: the selected jobs and instances.
pub(super) const SELECTED: &str = r#"job=~"$job",instance=~"$instance""#;

/// A query and the legend of its series.
pub(super) struct Target {
    pub(super) expr: String,
    pub(super) legend: String,
    /// Whether the series are the buckets of a heatmap.
    pub(super) buckets: bool,
}

/// A query in short notation: see [`expand`].
pub(super) fn query(short: &str, legend: &str) -> Target {
    Target { expr: expand(short), legend: legend.to_owned(), buckets: false }
}

/// The same for a heatmap.
pub(super) fn buckets(short: &str) -> Target {
    Target { buckets: true, ..query(short, "{{le}}") }
}

/// Expands the short notation. `@name` and `@name{a='b'}` become the metric `rstwatch_name` of the selected jobs and instances,
/// `{a=$}` becomes a match of the dashboard variable `a`, and `[rate]` and `[range]` become Grafana's rate interval and time
/// range.
pub(super) fn expand(short: &str) -> String {
    let mut parts = short.split('@');
    let mut expanded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|next: char| !next.is_ascii_alphanumeric() && next != '_').unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let (labels, rest) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).unwrap_or(("", rest));
        expanded += &format!("rstwatch_{name}{{{SELECTED}{}}}{rest}", filters(labels));
    }
    expanded.replace("[rate]", "[$__rate_interval]").replace("[range]", "[$__range]")
}

fn filters(labels: &str) -> String {
    let each = labels.split(',').filter(|label| !label.is_empty());
    let filter = |label: &str| match label.strip_suffix("=$") {
        Some(name) => format!(",{name}=~\"${name}\""),
        None => format!(",{label}"),
    };
    each.map(filter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_the_short_notation() {
        let expanded = expand("sum(rate(@a_total{b='c',d=$}[rate])) / count(@e)");
        let wanted = r#"sum(rate(rstwatch_a_total{job=~"$job",instance=~"$instance",b='c',d=~"$d"}[$__rate_interval])) / count(rstwatch_e{job=~"$job",instance=~"$instance"})"#;
        assert_eq!(expanded, wanted);
    }
}
