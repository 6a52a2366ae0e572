use proptest::prelude::*;

use super::*;

const ID: &str = "47cbd16b77c50cbf71401c069cd2189f0e659af17d5a2daca3bddf59d8a870b2";
const OTHER: &str = "d8b2a9f0c1e34d5f6a7b8c9dd8b2a9f0c1e34d5f6a7b8c9dd8b2a9f0c1e34d5f";
const UID: &str = "b57320a0-e7eb-4ac8-a791-4c4472796867";
const ESCAPED: &str = "b57320a0_e7eb_4ac8_a791_4c4472796867";
const STATIC: &str = "d8992f589d8dd12c4342376ccb459375";
const BUILD: &str = "jvifp9a6b1lxa1kuw8bwfcovf";

/// A path with ids filled in.
fn path(shape: &str) -> String {
    let names = [
        ("{id}", ID),
        ("{other}", OTHER),
        ("{uid}", UID),
        ("{_uid}", ESCAPED),
        ("{static}", STATIC),
        ("{build}", BUILD),
    ];
    names.iter().fold(shape.to_owned(), |path, (from, to)| path.replace(from, to))
}

fn container(runtime: Runtime, id: &str, pod: Option<&str>) -> CgroupOwner {
    CgroupOwner::Container { runtime, id: id.into(), pod: pod.map(Into::into) }
}

#[track_caller]
fn all(shapes: &[&str], expected: &CgroupOwner) {
    for shape in shapes {
        assert_eq!(parse(&path(shape)), *expected, "{shape}");
    }
}

#[test]
fn containerd_in_a_pod() {
    all(
        &[
            // systemd driver; guaranteed, burstable, best effort.
            "/kubepods.slice/kubepods-pod{_uid}.slice/cri-containerd-{id}.scope",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_uid}.slice/cri-containerd-{id}.scope",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_uid}.slice/cri-containerd-{id}.scope",
            // containerd without the systemd driver, the kubelet with it (containerd 1.5 and later).
            "/system.slice/containerd.service/kubepods-burstable-pod{_uid}.slice:cri-containerd:{id}",
            "/system.slice/containerd.service/kubepods-pod{_uid}.slice:cri-containerd:{id}",
            "/kubepods-besteffort-pod{_uid}.slice:cri-containerd:{id}",
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{_uid}.slice/cri-containerd/{id}",
            // k3s, RKE2.
            "/system.slice/k3s.service/kubepods-burstable-pod{_uid}.slice:cri-containerd:{id}",
            // kind: a node is a Docker or Podman container.
            "/docker/{other}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{_uid}.slice/cri-containerd-{id}.scope",
            "/system.slice/docker-{other}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{_uid}.slice/cri-containerd-{id}.scope",
            "/machine.slice/libpod-{other}.scope/container/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{_uid}.slice/cri-containerd-{id}.scope",
            // systemd or Docker inside the container.
            "/kubepods.slice/kubepods-pod{_uid}.slice/cri-containerd-{id}.scope/init.scope",
            "/kubepods.slice/kubepods-pod{_uid}.slice/cri-containerd-{id}.scope/system.slice/nginx.service",
            "/kubepods.slice/kubepods-pod{_uid}.slice/cri-containerd-{id}.scope/docker/{other}",
            // As an agent sees it from within a cgroup namespace other than the host's.
            "/../../kubepods-burstable-pod{_uid}.slice/cri-containerd-{id}.scope",
            "/../../../kubepods.slice/kubepods-pod{_uid}.slice/cri-containerd-{id}.scope",
        ],
        &container(Runtime::Containerd, ID, Some(UID)),
    );
    all(
        &[
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{static}.slice/cri-containerd-{id}.scope",
            "/docker/{other}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{static}.slice/cri-containerd-{id}.scope",
        ],
        &container(Runtime::Containerd, ID, Some(STATIC)),
    );
}

/// The cgroupfs driver: GKE, minikube, k3s, and Docker under Kubernetes before 1.24.
#[test]
fn cgroupfs_in_a_pod() {
    all(
        &[
            "/kubepods/burstable/pod{uid}/{id}",
            "/kubepods/besteffort/pod{uid}/{id}",
            "/kubepods/pod{uid}/{id}",
            "/kubepods/pod{uid}/{id}/system.slice/sshd.service",
            "/docker/{other}/kubelet/kubepods/burstable/pod{uid}/{id}",
            "/docker/{other}/docker/{other}/kubepods/pod{uid}/{id}",
            "/../../pod{uid}/{id}",
            "/user.slice/user-1000.slice/user@1000.service/k3s.service/kubepods/burstable/pod{uid}/{id}",
            "/kubepods/pod{uid}/{id} (deleted)",
        ],
        &container(Runtime::Kubernetes, ID, Some(UID)),
    );
    all(&["/kubepods/burstable/pod{static}/{id}"], &container(Runtime::Kubernetes, ID, Some(STATIC)));
}

#[test]
fn crio() {
    all(
        &[
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_uid}.slice/crio-{id}.scope",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_uid}.slice/crio-{id}.scope/container",
            "/kubepods.slice/kubepods-pod{_uid}.slice/kubepods-pod{_uid}.slice:crio:{id}",
            "/kubepods/burstable/pod{uid}/crio-{id}",
        ],
        &container(Runtime::Crio, ID, Some(UID)),
    );
    // conmon monitors the container, and is not in it.
    all(
        &[
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_uid}.slice/crio-conmon-{id}.scope",
            "/kubepods/burstable/pod{uid}/crio-conmon-{id}",
        ],
        &CgroupOwner::Pod(UID.into()),
    );
    all(&["/machine.slice/crio-conmon-{id}.scope", "/system.slice/crio-conmon-{id}.scope"], &CgroupOwner::Unmanaged);
}

#[test]
fn pods_themselves() {
    all(
        &[
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_uid}.slice",
            "/kubepods/burstable/pod{uid}",
            "/docker/{id}/kubelet/kubepods/pod{uid}",
            "/kubepods/pod{uid}/kata_{id}",
        ],
        &CgroupOwner::Pod(UID.into()),
    );
}

#[test]
fn docker() {
    all(
        &[
            "/docker/{id}",
            "/system.slice/docker-{id}.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/docker-{id}.scope",
            "/docker/{id}/init.scope",
            "/system.slice/docker-{id}.scope/system.slice/nginx.service",
            "/system.slice:docker:{id}",
            "/moby/{id}",
            // Docker in Docker: this host sees the outer container.
            "/docker/{id}/docker/{other}",
            "/system.slice/docker-{id}.scope/docker/{other}",
            // Amazon ECS, current and former paths.
            "/ecs/0123456789abcdef0123456789abcdef/{id}",
            "/ecs/55091c13-b8cf-4801-b527-f4601742204d/{id}",
        ],
        &container(Runtime::Docker, ID, None),
    );
    all(
        &["/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_uid}.slice/docker-{id}.scope"],
        &container(Runtime::Docker, ID, Some(UID)),
    );
    // With --cgroup-parent.
    all(&["/actions_job/{id}", "/{id}", "/batch/nightly/{id}/init.scope"], &container(Runtime::Other, ID, None));
    let fargate = "0123456789abcdef0123456789abcdef-2532812345";
    let task = format!("/ecs/0123456789abcdef0123456789abcdef/{fargate}");
    assert_eq!(parse(&task), container(Runtime::Docker, fargate, None));
    all(
        &["/docker/buildkit/{build}", "/system.slice/system.slice:docker:{build}", "/buildkit/{build}"],
        &container(Runtime::Buildkit, BUILD, None),
    );
}

#[test]
fn podman() {
    all(
        &[
            "/machine.slice/libpod-{id}.scope",
            "/machine.slice/libpod-{id}.scope/container",
            "/libpod_parent/libpod-{id}",
            "/libpod_parent/libpod-{id}/supervisor",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope/container",
            "/machine.slice/machine-libpod_pod_{other}.slice/libpod-{id}.scope",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{other}.slice/libpod-{id}.scope",
        ],
        &container(Runtime::Podman, ID, None),
    );
    all(&["/machine.slice/libpod-conmon-{id}.scope"], &CgroupOwner::Unmanaged);
}

#[test]
fn containerd_without_kubernetes() {
    all(
        &[
            // open-telemetry/opentelemetry-ebpf-instrumentation#481.
            "/k8s.io/{id}",
            "/default/{id}",
            "/system.slice/nerdctl-{id}.scope",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-{id}.scope",
            "/../cri-containerd-{id}.scope",
        ],
        &container(Runtime::Containerd, ID, None),
    );
    all(&["/../{id}"], &container(Runtime::Kubernetes, ID, None));
}

#[test]
fn machines() {
    for (shape, runtime, name) in [
        ("/lxc.payload.web1", Runtime::Lxc, "web1"),
        ("/lxc.payload.web1/system.slice/nginx.service", Runtime::Lxc, "web1"),
        ("/lxc.payload.snapcraft_some-container/init.scope", Runtime::Lxc, "snapcraft_some-container"),
        ("/lxc/101/ns/system.slice/cron.service", Runtime::Lxc, "101"),
        ("/lxc.payload/web1", Runtime::Lxc, "web1"),
        ("/machine.slice/machine-deb12.scope/payload", Runtime::Nspawn, "deb12"),
        (
            "/machine.slice/systemd-nspawn@web\\x2d1.service/payload/system.slice/a.service",
            Runtime::Nspawn,
            "web\\x2d1",
        ),
        ("/garden/5d2c1f5e-8b1c-4f3a-6f3c-1a2b", Runtime::Garden, "5d2c1f5e-8b1c-4f3a-6f3c-1a2b"),
        ("/garden/good/5d2c1f5e-8b1c", Runtime::Garden, "5d2c1f5e-8b1c"),
    ] {
        assert_eq!(parse(shape), container(runtime, name, None), "{shape}");
    }
}

#[test]
fn units() {
    for (shape, unit) in [
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/nginx.service/workers", "nginx.service"),
        ("/system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyS0.service", "serial-getty@ttyS0.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service", "foo.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-4711.scope", "app-firefox-4711.scope"),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", "user@1000.service"),
        ("/init.scope", "init.scope"),
        ("/system.slice/docker.service", "docker.service"),
        ("/system.slice/containerd.service", "containerd.service"),
        ("/system.slice/docker-foo.service", "docker-foo.service"),
        ("/system.slice/docker-{id}.service", "docker-{id}.service"),
        ("/system.slice/docker-abc.scope", "docker-abc.scope"),
        ("/system.slice/cri-containerd-{id}x.scope", "cri-containerd-{id}x.scope"),
        ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope", "machine-qemu\\x2d1\\x2dvm.scope"),
        // A container run by a service (Podman's cgroups=split, Quadlet): the service's name is more useful than the id.
        ("/system.slice/web.service/libpod-payload-{id}", "web.service"),
        ("/system.slice/ci.service/{id}", "ci.service"),
        ("/system.slice/mnt-data.mount", "mnt-data.mount"),
        // A slice, if there is nothing more specific.
        ("/system.slice", "system.slice"),
        ("/kubepods.slice/kubepods-burstable.slice", "kubepods-burstable.slice"),
        ("/podinfo.slice/x", "podinfo.slice"),
        ("/kubepods.slice/kubepods-podshop.slice", "kubepods-podshop.slice"),
        ("/notkubepods-pod{_uid}.slice", "notkubepods-pod{_uid}.slice"),
    ] {
        assert_eq!(parse(&path(shape)), CgroupOwner::Unit(path(unit).into()), "{shape}");
    }
}

#[test]
fn unmanaged_paths() {
    all(
        &[
            "",
            "/",
            "/..",
            "/../..",
            "//",
            // A login session's number does not identify an owner.
            "/user.slice/user-1000.slice/session-3.scope",
            // Hexadecimal names that are not container ids.
            "/build/{id}0",
            "/memory/0123456789abcdef0123456789abcdef",
            "/docker/0123456789abcdef",
            "/docker/{id}0",
            "/docker/47CBD16B77C50CBF71401C069CD2189F0E659AF17D5A2DACA3BDDF59D8A870B2",
            "/docker/buildx",
            "/47cbd16b77c50cbf71401c069cd2189f0e659af17d5a2daca3bddf59d8a870b",
            "/kubepods/pod",
            "/kubepods/podinfo",
            "/kubepods/pod{uid}0",
            "/kubepods/podb57320a0-e7eb-4ac8-a791-4c44727968zz",
            "/docker-{id}x",
            "/crio-conmon-{id}",
            "/libpod_parent/libpod-conmon-{id}",
            "/lxc.monitor.web1",
            "/lxc.payload.",
            "/lxc.payload.\u{1b}[2J",
            "/.service",
            "/:cri-containerd:",
            "/a:cri-containerd:{id}",
            "/ecs/0123456789abcdef",
        ],
        &CgroupOwner::Unmanaged,
    );
}

/// A process that creates cgroups inside its container cannot pass for another container.
#[test]
fn a_container_cannot_pass_for_another() {
    let forged = "/kubepods/pod{uid}/{id}/kubepods.slice/kubepods-pod729d2f46_480d_4796_a76c_e227e2671d31.slice/cri-containerd-{other}.scope";
    all(&[forged], &container(Runtime::Kubernetes, ID, Some(UID)));
    all(&["/docker/{id}/lxc.payload.bank"], &container(Runtime::Docker, ID, None));
}

#[test]
fn lengths_are_bounded() {
    let long = format!("/system.slice/{}.service", "x".repeat(MAX_PATH));
    assert_eq!(parse(&long), CgroupOwner::Unmanaged);
    assert_eq!(parse(&format!("/lxc.payload.{}", "x".repeat(MAX_NAME + 1))), CgroupOwner::Unmanaged);
    assert_eq!(parse(&"/docker".repeat(500)), CgroupOwner::Unmanaged);
}

proptest! {
    #[test]
    fn nothing_panics(path in "\\PC{0,300}") {
        parse(&path);
    }

    #[test]
    fn nothing_made_of_known_words_panics(words in prop::collection::vec(prop::sample::select(vec![
        "/", "..", ":", "-", "pod", "kubepods", ".slice", ".scope", ".service", "docker", "crio-", "libpod_parent",
        "lxc", "ecs", "garden", UID, ESCAPED, ID, BUILD, "é", " (deleted)",
    ]), 0..20)) {
        let owner = parse(&words.concat());
        if let CgroupOwner::Container { id, .. } = owner {
            prop_assert!(!id.is_empty() && id.len() <= MAX_NAME);
        }
    }
}
