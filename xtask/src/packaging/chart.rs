//! deploy/helm: the base's documents as a chart's templates. They are written from what kubectl renders, so that there is one
//! source; and what helm makes of them is what kubectl makes of the base, and of its components.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use dev_support::{command, paths};
use serde_json::Value;

use super::document::{documents, word};
use super::tools::Tools;
use super::{kinds, references, render};

/// In a kind's document: what kubectl renders, and what the template has instead.
type Swap = (&'static str, &'static str, &'static str);

const SWAPS: [Swap; 9] = [
    (
        "DaemonSet",
        "image: localhost/rstwatch:@VERSION@",
        "image: \"{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}\"",
    ),
    ("DaemonSet", "imagePullPolicy: IfNotPresent", "imagePullPolicy: {{ .Values.image.pullPolicy }}"),
    ("DaemonSet", "hostNetwork: false", "hostNetwork: {{ .Values.hostNetwork }}"),
    (
        "DaemonSet",
        "dnsPolicy: ClusterFirst\n",
        "dnsPolicy: {{ ternary \"ClusterFirstWithHostNet\" \"ClusterFirst\" .Values.hostNetwork }}\n",
    ),
    (
        "DaemonSet",
        "            - PERFMON\n",
        "            - PERFMON\n            {{- if .Values.netAdmin }}\n            - NET_ADMIN\n            {{- end }}\n",
    ),
    (
        "DaemonSet",
        "        resources:\n          limits:\n            memory: 256Mi\n          requests:\n            cpu: 20m\n            memory: 66Mi\n",
        "        resources:\n          {{- toYaml .Values.resources | nindent 10 }}\n",
    ),
    (
        "DaemonSet",
        "      tolerations:\n      - operator: Exists\n",
        "      tolerations:\n        {{- toYaml .Values.tolerations | nindent 8 }}\n",
    ),
    (
        "NetworkPolicy",
        "kubernetes.io/metadata.name: monitoring",
        "kubernetes.io/metadata.name: {{ .Values.scrapedFrom }}",
    ),
    // A change is rolled out.
    (
        "DaemonSet",
        "      annotations:\n",
        "      annotations:\n        checksum/config: {{ printf \"%s %t\" .Values.config .Values.remoteNames | sha256sum }}\n",
    ),
];

/// The right that names of other ends take, behind the others.
const REMOTE: &str = "\
{{- if .Values.remoteNames }}
- apiGroups:
  - \"\"
  resources:
  - services
  - nodes
  verbs:
  - list
  - watch
{{- end }}
";

const HEAD: &str = "{{- /* Written by `cargo xtask packaging` from deploy/kubernetes/base. Change it there. */ -}}\n";

fn home() -> PathBuf {
    paths::root().join("deploy/helm/rstwatch")
}

/// Writes the templates.
pub(super) fn write(tools: &Tools) -> Result<()> {
    for (name, text) in templates(tools)? {
        fs::write(home().join("templates").join(name), text)?;
    }
    Ok(())
}

/// The templates by their files. The namespace is made by who installs, the configuration has a template of its own.
fn templates(tools: &Tools) -> Result<BTreeMap<String, String>> {
    let rendered = render::text(&tools.kubectl, &render::home().join("base"))?;
    let mut all = BTreeMap::new();
    for text in rendered.split("\n---\n") {
        let document = documents(text)?.into_iter().next().context("an empty document")?;
        let kind = word(&document, "/kind");
        if !["Namespace", "ConfigMap"].contains(&kind) {
            all.insert(format!("{}.yaml", kind.to_lowercase()), template(kind, &format!("{}\n", text.trim_end()))?);
        }
    }
    Ok(all)
}

fn template(kind: &str, text: &str) -> Result<String> {
    let mut text = text.replace("namespace: rstwatch\n", "namespace: {{ .Release.Namespace }}\n");
    for (_, from, to) in SWAPS.iter().filter(|(of, ..)| *of == kind) {
        let from = from.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        ensure!(text.matches(&from).count() == 1, "the rendered {kind} does not have {from:?} once: see chart.rs");
        text = text.replace(&from, to);
    }
    if kind == "ClusterRole" {
        text.push_str(REMOTE);
    }
    // Its name has the hash of its content there.
    let plain = |line: &str| match line.trim_start().strip_prefix("name: rstwatch-") {
        Some(_) => format!("{}name: rstwatch\n", &line[..line.len() - line.trim_start().len()]),
        None => format!("{line}\n"),
    };
    Ok(format!("{HEAD}{}", text.lines().map(plain).collect::<String>()))
}

/// The files are current, helm finds no fault, and the documents are kubectl's.
pub(super) fn check(tools: &Tools) -> Result<()> {
    for (name, text) in templates(tools)? {
        if fs::read_to_string(home().join("templates").join(&name)).unwrap_or_default() != text {
            bail!("deploy/helm/rstwatch/templates/{name} is not what the base says: run cargo xtask packaging");
        }
    }
    let chart = documents(&fs::read_to_string(home().join("Chart.yaml"))?)?.remove(0);
    for key in ["/version", "/appVersion"] {
        ensure!(word(&chart, key) == env!("CARGO_PKG_VERSION"), "Chart.yaml: {key} is another version");
    }
    command::run_quiet(helm(tools).args(["lint", "--strict", "--quiet"]).arg(home()))?;
    let base = render::render(&tools.kubectl, &render::home().join("base"))?;
    same(&base, &install(tools, &[])?, &[]).context("helm, by default")?;
    let parts = ["net-admin", "remote-names", "host-network"].map(|part| render::home().join("components").join(part));
    let wider = render::with_components(&tools.kubectl, &parts)?;
    let values = ["netAdmin=true", "remoteNames=true", "hostNetwork=true", "resources.limits.memory=384Mi"]
        .map(|set| format!("--set={set}"));
    same(&wider, &install(tools, &values)?, &["NET_ADMIN"]).context("helm, with all values")
}

/// helm without anybody's configuration.
fn helm(tools: &Tools) -> Command {
    let mut helm = Command::new(&tools.helm);
    helm.env("KUBECONFIG", "/dev/null").env("HELM_CONFIG_HOME", "/nowhere");
    helm
}

fn install(tools: &Tools, values: &[String]) -> Result<Vec<Value>> {
    let mut helm = helm(tools);
    helm.args(["template", "rstwatch"]).arg(home()).args(["--namespace", "rstwatch", "--kube-version", "1.32"]);
    documents(&command::stdout(helm.args(values)).context("helm template failed")?)
}

fn same(kubectls: &[Value], helms: &[Value], extra: &[&str]) -> Result<()> {
    let mut found: Vec<String> = helms.iter().flat_map(kinds::problems).collect();
    found.extend(references::problems(helms, extra));
    let (kubectls, helms) = (comparable(kubectls), comparable(helms));
    for name in kubectls.keys().chain(helms.keys()) {
        let (theirs, ours) = (kubectls.get(name), helms.get(name));
        if theirs != ours {
            found.push(format!("{name}: kubectl: {theirs:?}\nhelm: {ours:?}"));
        }
    }
    ensure!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

/// Without what differs on purpose: the namespace's own document, the name of the ConfigMap, and how a change is noticed.
/// Of configurations, what they say: their lines without comments.
fn comparable(documents: &[Value]) -> BTreeMap<String, Value> {
    let others = documents.iter().filter(|document| word(document, "/kind") != "Namespace");
    let plain = others.map(|document| {
        let mut document = document.clone();
        if word(&document, "/kind") == "ConfigMap" {
            document["metadata"]["name"] = "rstwatch".into();
            let said =
                word(&document, "/data/config.toml").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            document["data"]["config.toml"] = said.collect::<Vec<_>>().join("\n").into();
        }
        if let Some(annotations) =
            document.pointer_mut("/spec/template/metadata/annotations").and_then(Value::as_object_mut)
        {
            annotations.remove("checksum/config");
        }
        if let Some(volumes) = document.pointer_mut("/spec/template/spec/volumes").and_then(Value::as_array_mut) {
            for volume in volumes.iter_mut().filter(|volume| volume.get("configMap").is_some()) {
                volume["configMap"]["name"] = "rstwatch".into();
            }
        }
        (super::document::name(&document), document)
    });
    plain.collect()
}
