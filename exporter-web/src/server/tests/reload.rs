//! Certificates and users are reloaded while the server runs.

use super::*;

/// Polls until the condition holds; panics after ten seconds.
fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(10), "timed out: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn certificates_and_users_change_without_a_restart() {
    let secured = SecureServer::start(&format!("{TLS}basic_auth_users:\n  alice: {}\n", bcrypt_hash("old")));
    let path = secured.folder.path();
    let old = secured.client(None);
    assert_eq!(secured.get(&old, "/metrics", &basic("alice", "old")).expect("TLS").0, 200);

    let renewed = Authority::new("renewed");
    write_certificate(path, &renewed);
    let new = client(&renewed, None);
    wait_for("the new certificate", || secured.get(&new, "/healthz", "").is_ok());
    assert!(secured.get(&old, "/healthz", "").is_err());

    // An invalid file leaves the configuration as it was.
    for invalid in ["tls_server_config: [", "", &format!("{TLS}basic_auth_users:\n  alice: new\n")] {
        fs::write(path.join("web.yml"), invalid).expect("written");
        wait_for("the error", || {
            assert_eq!(secured.get(&new, "/metrics", &basic("alice", "old")).expect("TLS").0, 200);
            !secured.web_config.is_up_to_date()
        });
    }
    let (_, text) = secured.get(&new, "/metrics", &basic("alice", "old")).expect("TLS");
    assert!(text.ends_with("\r\ntest_config_up_to_date 0\n"), "{text}");
    fs::write(path.join("web.yml"), format!("{TLS}basic_auth_users:\n  alice: {}\n", bcrypt_hash("new")))
        .expect("written");
    wait_for("the new password", || secured.get(&new, "/metrics", &basic("alice", "new")).expect("TLS").0 == 200);
    assert_eq!(secured.get(&new, "/metrics", &basic("alice", "old")).expect("TLS").0, 401);
    assert!(secured.web_config.is_up_to_date());

    // The new certificate is in place, but its key is not yet: halfway through a renewal.
    let third = Authority::new("third");
    let (cert, key) = third.sign(vec![dns("localhost")]);
    fs::write(path.join("server.crt"), cert).expect("written");
    wait_for("the error", || {
        assert!(secured.get(&new, "/healthz", "").is_ok());
        !secured.web_config.is_up_to_date()
    });
    fs::write(path.join("server.key"), key).expect("written");
    let third = client(&third, None);
    wait_for("the third certificate", || secured.get(&third, "/healthz", "").is_ok());
    // An explicit reload takes effect at once.
    fs::write(path.join("web.yml"), format!("{TLS}basic_auth_users: {{}}\n")).expect("written");
    secured.web_config.reload();
    assert_eq!(secured.get(&third, "/metrics", "").expect("TLS").0, 200);
}

/// The kubelet updates mounted Secrets this way: the files are symlinks into `..data`, itself a symlink that is swapped
/// atomically.
#[test]
fn certificates_are_reloaded_after_a_symlink_swap() {
    let (folder, first, second) = (tempfile::tempdir().expect("folder"), Authority::new("1"), Authority::new("2"));
    let path = folder.path();
    let symlink = |to: &str, at: &str| std::os::unix::fs::symlink(to, path.join(at)).expect("linked");
    for (name, authority) in [("..1", &first), ("..2", &second)] {
        fs::create_dir(path.join(name)).expect("created");
        write_certificate(&path.join(name), authority);
        fs::write(path.join(name).join("web.yml"), TLS).expect("written");
    }
    symlink("..1", "..data");
    ["server.crt", "server.key", "web.yml"].iter().for_each(|name| symlink(&format!("..data/{name}"), name));
    let web_config = WebConfig::open(&path.join("web.yml")).expect("valid");
    let server = TestServer::start(Some(Arc::clone(&web_config)));
    let is_served = |authority| connect_tls(server.address, &client(authority, None)).is_ok();
    assert!(is_served(&first) && !is_served(&second));
    symlink("..2", "..data_tmp");
    fs::rename(path.join("..data_tmp"), path.join("..data")).expect("swapped");
    fs::remove_dir_all(path.join("..1")).expect("removed");
    wait_for("the second certificate", || is_served(&second));
    assert!(!is_served(&first) && web_config.is_up_to_date());
}
