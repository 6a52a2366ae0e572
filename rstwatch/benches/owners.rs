//! The cost of naming an event.

use std::fs::{create_dir_all, metadata, write};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rstwatch::identity::owner::Owners;
use rstwatch::identity::owner::naming::Naming;
use rstwatch::identity::owner::path::parse;
use rstwatch::identity::owner::pods::{Controller, Lookup, Pod, Pods};
use rstwatch_verdict::cause::{Cause, Confidence, Direction, Sender};
use rstwatch_verdict::event::{Event, Process};
use rstwatch_verdict::identity::Identity;
use rstwatch_verdict::judged::Judged;
use rstwatch_verdict::timing::Timing;

fn main() {
    divan::main();
}

const ID: &str = "1a2b3c4d5e6f48c0f51401c069cd2189f0e659af17d5a2daca3bddf59d8a870b";
const POD: &str = "kubepods.slice/kubepods-pod7d9c57f2_4f0e_4b32_9c1c_1ab0c3d4e5f6.slice";

struct One(Arc<Pod>);

impl Pods for One {
    fn find(&self, _: Option<&str>, _: Option<&str>) -> Lookup {
        Lookup::Pod(Arc::clone(&self.0))
    }
}

fn event(cgroup: u64) -> Box<Judged> {
    let event = Event {
        process: Some(Process { pid: 5, comm: "orders-api".into() }),
        ..Event::bare(Direction::Sent, Cause::UnreadData, Sender::LocalApp, Confidence::Certain)
    };
    let identity = Identity { cgroup, socket: 0, tgid: 5, start_ns: 7 };
    Box::new(Judged { event, timing: Timing::default(), identity })
}

/// Names an event of a cgroup with this path.
fn name(bencher: divan::Bencher<'_, '_>, path: &str) {
    let root = tempfile::tempdir().expect("a folder");
    let at = root.path().join("cgroup").join(path);
    create_dir_all(&at).expect("made");
    create_dir_all(root.path().join("proc/self")).expect("made");
    let line = format!("30 23 0:26 / {} rw - cgroup2 cgroup2 rw\n", root.path().join("cgroup").display());
    write(root.path().join("proc/self/mountinfo"), line).expect("written");
    let controller = Some(Controller { kind: "Deployment".into(), name: "orders".into() });
    let containers = vec![(ID.into(), "api".into())];
    let pod = Pod { namespace: "shop".into(), name: "orders-7c9d-x".into(), controller, containers };
    let owners = Owners::start_at(root.path().join("proc"), Some(Arc::new(One(Arc::new(pod))))).expect("a thread");
    let mut naming = Naming::new(owners);
    let event = event(metadata(&at).expect("there").ino());
    // The first one may wait for the walk.
    assert!(naming.take(event.clone(), || 0).is_some() || naming.finish().len() == 1);
    bencher.with_inputs(|| event.clone()).bench_local_values(|event| naming.take(event, || 0));
}

#[divan::bench]
fn unit(bencher: divan::Bencher<'_, '_>) {
    name(bencher, "system.slice/nginx.service");
}

#[divan::bench]
fn pod(bencher: divan::Bencher<'_, '_>) {
    name(bencher, &format!("{POD}/cri-containerd-{ID}.scope"));
}

/// Runs once per cgroup, not per event.
#[divan::bench]
fn path() -> rstwatch::identity::owner::path::CgroupOwner {
    parse(divan::black_box(&format!("/{POD}/cri-containerd-{ID}.scope")))
}
