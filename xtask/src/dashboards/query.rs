//! PromQL as the panels hold it.

/// What every selector begins with: the dashboard's variables choose whose series are read.
pub(super) const WHOSE: &str = r#"job=~"$job",instance=~"$instance""#;

/// A query, and how its results are called.
pub(super) struct Target {
    pub(super) expr: String,
    pub(super) legend: String,
    /// Buckets, to be drawn as a heatmap.
    pub(super) buckets: bool,
}

/// A query in short. `@name{a='b'}` and `@name` stand for rstwatch's metric of that name, of the selected jobs and
/// instances; `{a=$}` for what the variable `a` selects; `[rate]` and `[range]` for Grafana's two windows.
pub(super) fn query(short: &str, legend: &str) -> Target {
    Target { expr: expand(short), legend: legend.to_owned(), buckets: false }
}

/// The same, for a heatmap.
pub(super) fn buckets(short: &str) -> Target {
    Target { buckets: true, ..query(short, "{{le}}") }
}

pub(super) fn expand(short: &str) -> String {
    let mut parts = short.split('@');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|next: char| !next.is_ascii_alphanumeric() && next != '_').unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        let (labels, rest) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).unwrap_or(("", rest));
        whole += &format!("rstwatch_{name}{{{WHOSE}{}}}{rest}", filters(labels));
    }
    whole.replace("[rate]", "[$__rate_interval]").replace("[range]", "[$__range]")
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
    fn short_queries_become_whole_ones() {
        let whole = expand("sum(rate(@a_total{b='c',d=$}[rate])) / count(@e)");
        let wanted = r#"sum(rate(rstwatch_a_total{job=~"$job",instance=~"$instance",b='c',d=~"$d"}[$__rate_interval])) / count(rstwatch_e{job=~"$job",instance=~"$instance"})"#;
        assert_eq!(whole, wanted);
    }
}
