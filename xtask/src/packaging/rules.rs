//! The Prometheus rules as the operator's object: the same groups, in another envelope.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use dev_support::paths;

const HEAD: &str = "\
# Written by `cargo xtask packaging` from deploy/prometheus/rules.yaml. Change the rules there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: rstwatch
  labels:
    app.kubernetes.io/name: rstwatch
spec:
";

fn file() -> PathBuf {
    paths::root().join("deploy/kubernetes/overlays/prometheus-operator/prometheusrule.yaml")
}

/// The rules, two columns further in; comments of the file's head stay there.
pub(super) fn object() -> Result<String> {
    let rules = fs::read_to_string(paths::root().join("deploy/prometheus/rules.yaml")).context("rules.yaml")?;
    let (_, groups) = rules.split_once("\ngroups:\n").context("rules.yaml: no groups")?;
    let lines = groups.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") });
    Ok(format!("{HEAD}  groups:\n{}", lines.collect::<String>()))
}

/// Writes the file.
pub(super) fn write() -> Result<()> {
    fs::write(file(), object()?).with_context(|| file().display().to_string())
}

/// Refuses a file that is another.
pub(super) fn check() -> Result<()> {
    if fs::read_to_string(file()).unwrap_or_default() != object()? {
        bail!("{} is not what rules.yaml says: run cargo xtask packaging", file().display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::document::documents;
    use super::*;

    #[test]
    fn the_groups_are_those_of_the_rules() {
        let whole = |text: &str| documents(text).expect("YAML").remove(0);
        let rules = fs::read_to_string(paths::root().join("deploy/prometheus/rules.yaml")).expect("rules");
        let object = whole(&object().expect("written"));
        let groups = whole(&rules)["groups"].clone();
        assert!(groups.as_array().is_some_and(|groups| !groups.is_empty()) && groups != Value::Null);
        assert_eq!(object["spec"]["groups"], groups);
    }

    #[test]
    fn the_file_is_current() {
        check().expect("current");
    }
}
