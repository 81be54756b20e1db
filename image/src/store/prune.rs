//! Pruning: what nothing refers to goes.

use super::layout::INDEX;
use super::list::{List, REF_NAME};
use super::tree::{self, Reached};
use super::{Store, ingest};
use crate::digest::{Algorithm, Digest};
use crate::document::{Descriptor, Document};
use crate::error::Result;

/// What a pruning does with images that have no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untagged {
    /// They stay.
    Keep,
    /// They go, unless `keep` says otherwise, or they are about an image that stays (a
    /// signature, say).
    Remove,
}

/// What a pruning has removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Untagged images.
    pub images: Vec<Digest>,
    /// Content, that of those images among it.
    pub blobs: Vec<Digest>,
    /// In bytes, with what was unfinished.
    pub bytes: u64,
}

impl Store {
    /// Removes content that no image needs, and what unfinished downloads have left.
    ///
    /// `keep` is asked about untagged images and about content that nothing refers to; what it
    /// keeps stays with all that it leads to. Whoever holds a [`Store::lease`] is waited for;
    /// nothing new comes meanwhile. Killed in between, it has removed less, and harmed nothing.
    ///
    /// # Errors
    /// [`crate::ErrorKind::TimedOut`] when a lease isn't given back;
    /// [`crate::ErrorKind::Corrupt`] when an image that stays can't be read, since nobody knows
    /// then what belongs to it: nothing is removed.
    pub fn prune(&self, untagged: Untagged, keep: impl Fn(&Digest) -> bool) -> Result<Pruned> {
        let layout = self.layout();
        let _nobody_writes = self.lease_alone()?;
        let _nobody_tags = layout.lock_index(self.patience())?;
        let mut list = List::read(self.directory())?;
        let mut pruned = Pruned::default();

        let reached = self.reached(&list, untagged, &keep)?;
        let stays = |entry: &Descriptor| {
            untagged == Untagged::Keep || is_tagged(entry) || reached.contains(&entry.digest)
        };
        let gone = list.descriptors().iter().filter(|entry| !stays(entry));
        pruned.images = gone.map(|entry| entry.digest.clone()).collect();
        if list.retain(stays) {
            layout.replace(INDEX, &list.to_bytes()?)?;
        }
        self.remove_others(&reached, &mut pruned)?;
        pruned.bytes += ingest::sweep(self, |_| true)?;
        layout.fill_reserve();
        Ok(pruned)
    }

    /// Everything that stays.
    fn reached(
        &self,
        list: &List,
        untagged: Untagged,
        keep: &impl Fn(&Digest) -> bool,
    ) -> Result<Reached> {
        let mut reached = Reached::default();
        let all = list.descriptors().iter();
        let (roots, open): (Vec<Descriptor>, Vec<Descriptor>) = all.cloned().partition(|entry| {
            untagged == Untagged::Keep || is_tagged(entry) || keep(&entry.digest)
        });
        reached.add(self, roots)?;
        for digest in self.blobs()? {
            if !reached.contains(&digest)
                && keep(&digest)
                && let Some(descriptor) = tree::describe(self, &digest)?
            {
                reached.add(self, vec![descriptor])?;
            }
        }
        self.reach_referrers(open, &mut reached)?;
        Ok(reached)
    }

    /// Adds what is about something that stays, and what is about that.
    fn reach_referrers(&self, mut open: Vec<Descriptor>, reached: &mut Reached) -> Result<()> {
        loop {
            let before = open.len();
            let (about, rest): (Vec<Descriptor>, Vec<Descriptor>) = open
                .into_iter()
                .partition(|entry| self.subject(entry).is_some_and(|it| reached.contains(&it)));
            reached.add(self, about)?;
            open = rest;
            if open.len() == before {
                return Ok(());
            }
        }
    }

    /// What a document is about. One that can't be read, and has no name, is about nothing.
    fn subject(&self, descriptor: &Descriptor) -> Option<Digest> {
        let subject = match tree::document(self, descriptor).ok()? {
            Document::Manifest(manifest) => manifest.subject,
            Document::Index(index) => index.subject,
        };
        subject.map(|subject| subject.digest)
    }

    fn remove_others(&self, reached: &Reached, pruned: &mut Pruned) -> Result<()> {
        for digest in self.blobs()? {
            if reached.contains(&digest) {
                continue;
            }
            let size = self.size_of(&digest)?.unwrap_or(0);
            let directory = self.algorithm_directory(digest.algorithm())?;
            if directory.remove(digest.hex())? {
                pruned.bytes += size;
                pruned.blobs.push(digest);
            }
        }
        Ok(())
    }

    /// All content; other files in the directories are somebody else's.
    pub(super) fn blobs(&self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for algorithm in Algorithm::ALL {
            let Some(directory) = self.layout().blobs.child(algorithm.name())? else {
                continue;
            };
            let names = directory.names()?;
            let known = names
                .iter()
                .filter_map(|hex| format!("{}:{hex}", algorithm.name()).parse().ok());
            digests.extend(known);
        }
        digests.sort();
        Ok(digests)
    }
}

fn is_tagged(entry: &Descriptor) -> bool {
    entry.annotation(REF_NAME).is_some()
}
