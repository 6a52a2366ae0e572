//! Feeds watched pods, services and nodes into [`Names`].

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use super::names::{NamedObject, Names};
use super::object::{Named, Node, Service};
use super::pod::WatchedPod;
use super::watch::Sink;
use rstwatch_verdict::event::{RemoteKind, RemoteWorkload};

/// A Kubernetes object that has addresses.
pub trait Addressed {
    /// The kind of object.
    const KIND: RemoteKind;
    /// Its name and addresses; `None` if it has no uid.
    fn named(self) -> Option<NamedObject>;
}

impl Addressed for WatchedPod {
    const KIND: RemoteKind = RemoteKind::Pod;

    fn named(self) -> Option<NamedObject> {
        let name = RemoteWorkload { kind: Self::KIND, namespace: Some(self.pod.namespace), name: self.pod.name };
        Some(NamedObject { uid: self.uid?, name, addresses: self.addresses, opted_out: self.opted_out })
    }
}

impl Addressed for Service {
    const KIND: RemoteKind = RemoteKind::Service;

    fn named(self) -> Option<NamedObject> {
        named_object(Self::KIND, self.0)
    }
}

impl Addressed for Node {
    const KIND: RemoteKind = RemoteKind::Node;

    fn named(self) -> Option<NamedObject> {
        named_object(Self::KIND, self.0)
    }
}

fn named_object(
    kind: RemoteKind,
    Named { uid, namespace, name, addresses, opted_out, .. }: Named,
) -> Option<NamedObject> {
    Some(NamedObject { uid: uid?, name: RemoteWorkload { kind, namespace, name }, addresses, opted_out })
}

/// The watch sink for objects of type `T`.
#[derive(Debug)]
pub struct Directory<T> {
    names: Arc<Names>,
    object: PhantomData<fn(T)>,
}

impl<T> Directory<T> {
    /// A sink that updates `names`.
    pub fn new(names: &Arc<Names>) -> Self {
        Self { names: Arc::clone(names), object: PhantomData }
    }
}

impl<T: Addressed> Sink for Directory<T> {
    type Object = T;

    fn begin_list(&mut self) {
        self.names.begin_list(T::KIND);
    }

    fn apply(&mut self, object: T, now: Instant) {
        if let Some(object) = object.named() {
            self.names.apply(object, now);
        }
    }

    fn delete(&mut self, object: T, now: Instant) {
        if let Some(object) = object.named() {
            self.names.delete(&object.uid, now);
        }
    }

    fn complete_list(&mut self, now: Instant) {
        self.names.delete_unlisted(T::KIND, now);
    }

    fn expire(&mut self, now: Instant) {
        self.names.expire(now);
    }

    fn count(&self) -> usize {
        self.names.count(T::KIND)
    }
}
