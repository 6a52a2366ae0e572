//! Connecting to the API.

use rstwatch::identity::kubernetes::failure::Kind;

use crate::NODE;
use crate::apiserver::{self, ApiServer, pod};
use crate::fixture::Fixture;

/// A certificate authority and the TLS configuration of a server that it certifies.
pub(crate) fn certificates() -> (String, std::sync::Arc<rustls::ServerConfig>) {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(params, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = config.expect("protocols").with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key);
    (ca.pem(), std::sync::Arc::new(config.expect("a certificate")))
}

/// A TLS server with one pod.
pub(crate) fn serve_tls(config: std::sync::Arc<rustls::ServerConfig>) -> ApiServer {
    let wrap = move |stream| {
        let connection = rustls::ServerConnection::new(std::sync::Arc::clone(&config));
        let connection = connection.map_err(std::io::Error::other)?;
        Ok(Box::new(rustls::StreamOwned::new(connection, stream)) as Box<dyn apiserver::Stream>)
    };
    let api = ApiServer::wrapped(std::sync::Arc::new(wrap)).expect("a server");
    api.put("pods", pod("shop", "orders", NODE, "10.0.0.1"));
    api
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_authority_of_the_cluster_is_trusted() {
    let (ca, config) = certificates();
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.crt");
    let to = |api: &ApiServer| {
        let cluster =
            format!("{{server: \"https://{}\", certificate-authority: {}}}", api.address(), ca_file.display());
        apiserver::kubeconfig(&cluster)
    };
    std::fs::write(&ca_file, &ca).expect("written");
    let api = serve_tls(std::sync::Arc::clone(&config));
    let kubeconfig = to(&api);
    let fixture = Fixture::new(api, &kubeconfig, None);
    fixture.in_sync().await;
    assert_eq!(fixture.name("uid-shop-orders").as_deref(), Some("shop/orders"));

    std::fs::write(&ca_file, certificates().0).expect("written");
    let api = serve_tls(config);
    let kubeconfig = to(&api);
    let fixture = Fixture::new(api, &kubeconfig, None);
    fixture.wait_until("refused", |it| it.errors(Kind::Connect) > 1).await;
    assert_eq!(fixture.api.requests(), [], "no request was sent, so no token either");
    // The file is read again.
    std::fs::write(&ca_file, ca).expect("written");
    fixture.in_sync().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusable_kubeconfig_is_tried_again() {
    let api = ApiServer::start().expect("a server");
    api.put("pods", pod("shop", "orders", NODE, "10.0.0.1"));
    let good = api.kubeconfig();
    let program =
        good.replace("token: secret", "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/true}");
    let unreachable = good.replace(&api.address().to_string(), "127.0.0.1:1");
    let unresolvable = good.replace(&api.address().to_string(), "nowhere.invalid");
    let fixture = Fixture::new(api, "", None);
    let path = fixture.folder.path().join("kubeconfig");
    for bad in ["", "{", "\u{0}", "apiVersion: v1\nkind: Config\n", &program, &unreachable, &unresolvable] {
        std::fs::write(&path, bad).expect("written");
        let errors = |it: &Fixture| it.errors(Kind::Other) + it.errors(Kind::Connect);
        let before = errors(&fixture);
        fixture.wait_until(bad, |it| errors(it) > before + 1).await;
        assert!(!fixture.cache().health.is_up());
    }
    assert_eq!(fixture.api.requests(), []);
    std::fs::write(&path, good).expect("written");
    fixture.in_sync().await;
}
