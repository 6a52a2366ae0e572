//! Services and nodes as the API sends them, and what these objects have in common.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use kube::Resource;
use kube::core::{ClusterResourceScope, NamespaceResourceScope, ObjectMeta};
use serde::Deserialize;

use super::lenient::{Lenient, List, Text};

/// The value of the annotation `rstwatch.dev/ignore-names` that opts out.
pub(super) const OPT_OUT: &str = "true";

/// Parses addresses, and drops duplicates and those that identify no single host (loopback, unspecified, multicast).
pub(super) fn addresses<'a>(texts: impl IntoIterator<Item = &'a Text>) -> Vec<IpAddr> {
    let parsed = texts.into_iter().filter_map(|text| text.get()?.parse::<IpAddr>().ok());
    let mut addresses: Vec<_> = parsed.map(|address| address.to_canonical()).collect();
    addresses.retain(|address| !address.is_loopback() && !address.is_unspecified() && !address.is_multicast());
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: Text,
    namespace: Text,
    uid: Text,
    resource_version: Text,
    annotations: Lenient<Annotations>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "rstwatch.dev/ignore-names")]
    ignore: Text,
}

/// What services and nodes have in common.
#[derive(Clone, Debug)]
pub struct Named {
    /// Holds only the resource version.
    meta: ObjectMeta,
    /// Unique over time; `None` also if the name is missing. An object without it is ignored.
    pub uid: Option<Arc<str>>,
    /// Its namespace; `None` for a node.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its annotation opts out of being named.
    pub opted_out: bool,
}

impl Named {
    fn new(metadata: Metadata, addresses: Vec<IpAddr>) -> Self {
        let name: Arc<str> = metadata.name.get().map(Arc::from).unwrap_or_default();
        Self {
            uid: metadata.uid.get().map(Arc::from).filter(|_| !name.is_empty()),
            namespace: metadata.namespace.get().map(Arc::from),
            name,
            addresses,
            opted_out: metadata.annotations.0.ignore.get() == Some(OPT_OUT),
            meta: ObjectMeta {
                resource_version: metadata.resource_version.0.map(String::from),
                ..ObjectMeta::default()
            },
        }
    }
}

/// A service.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawService")]
pub struct Service(pub Named);

/// A node.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawNode")]
pub struct Node(pub Named);

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawService {
    metadata: Lenient<Metadata>,
    spec: Lenient<ServiceSpec>,
    status: Lenient<ServiceStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: Text,
    #[serde(rename = "clusterIPs")]
    cluster_ips: List<Text, 4>,
    #[serde(rename = "externalIPs")]
    external_ips: List<Text, 64>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ServiceStatus {
    load_balancer: Lenient<LoadBalancer>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: List<Lenient<Ingress>, 64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: Text,
}

impl From<RawService> for Service {
    /// Collects the addresses that kube-proxy redirects: a client's socket shows these, not the backend's.
    fn from(
        RawService { metadata: Lenient(metadata), spec: Lenient(spec), status: Lenient(status) }: RawService,
    ) -> Self {
        let ingress = status.load_balancer.0.ingress.0.iter().map(|Lenient(ingress)| &ingress.ip);
        let texts = spec.cluster_ips.0.iter().chain([&spec.cluster_ip]).chain(&spec.external_ips.0).chain(ingress);
        Self(Named::new(metadata, addresses(texts)))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawNode {
    metadata: Lenient<Metadata>,
    status: Lenient<NodeStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    addresses: List<Lenient<NodeAddress>, 64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeAddress {
    address: Text,
}

impl From<RawNode> for Node {
    /// Collects the addresses; host names among them are dropped.
    fn from(RawNode { metadata: Lenient(metadata), status: Lenient(status) }: RawNode) -> Self {
        Self(Named::new(metadata, addresses(status.addresses.0.iter().map(|Lenient(address)| &address.address))))
    }
}

/// Implements [`Resource`], which names the type's path in the API.
macro_rules! resource {
    ($type:ty, $scope:ty, $kind:literal, $plural:literal) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                "".into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.0.meta
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.0.meta
            }
        }
    };
}

resource!(Service, NamespaceResourceScope, "Service", "services");
resource!(Node, ClusterResourceScope, "Node", "nodes");

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(Named { uid, namespace, name, addresses, .. }: &Named) -> String {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        format!("{uid:?} {namespace:?} {name} {}", addresses.join(" "))
    }

    #[test]
    fn services_have_every_address_that_clients_use() {
        let value = json!({
            "metadata": {"name": "db", "namespace": "shop", "uid": "s1"},
            "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"], "externalIPs": ["192.0.2.1"]},
            "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}, {"hostname": "lb.example"}]}},
        });
        let Service(service) = serde_json::from_value(value).expect("a service");
        assert_eq!(shown(&service), "Some(\"s1\") Some(\"shop\") db 10.96.0.9 192.0.2.1 198.51.100.1 fd00::9");
        let headless = json!({"metadata": {"name": "db", "uid": "s2"}, "spec": {"clusterIP": "None"}});
        let Service(headless) = serde_json::from_value(headless).expect("a service");
        assert!(headless.addresses.is_empty());
    }

    #[test]
    fn nodes_have_their_addresses() {
        let value = json!({
            "metadata": {"name": "node-a", "uid": "n1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}, {"type": "Hostname", "address": "node-a"}, {"address": "127.0.0.1"}]},
        });
        let Node(node) = serde_json::from_value(value).expect("a node");
        assert_eq!(shown(&node), "Some(\"n1\") None node-a 192.168.0.1");
    }

    #[test]
    fn an_opted_out_object_is_marked() {
        let value = json!({
            "metadata": {"name": "db", "uid": "s1", "annotations": {"rstwatch.dev/ignore-names": "true"}},
            "spec": {"clusterIP": "10.96.0.9"},
        });
        let Service(service) = serde_json::from_value(value).expect("a service");
        assert!(service.opted_out);
    }
}
