//! What registries have granted: tokens and passwords that were accepted, by scope.
//!
//! Threads that need the same grant wait for the one that fetches it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::url::Origin;

/// What is wanted: `repository:NAME:pull,push`, one or several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Scopes(BTreeSet<String>);

impl Scopes {
    /// To read a repository.
    pub(super) fn pull(repository: &str) -> Self {
        Self::default().and(format!("repository:{repository}:pull"))
    }

    /// To write a repository.
    pub(super) fn push(repository: &str) -> Self {
        Self::default().and(format!("repository:{repository}:pull,push"))
    }

    /// These and another one.
    pub(super) fn and(mut self, scope: String) -> Self {
        self.0.insert(scope);
        self
    }

    /// These and those of a challenge, blanks between them.
    pub(super) fn merged(&self, challenge: Option<&str>) -> Self {
        let further = challenge.unwrap_or_default().split(' ');
        let further = further.filter(|scope| !scope.is_empty() && !self.implies(scope));
        Self(
            self.0
                .iter()
                .cloned()
                .chain(further.map(str::to_owned))
                .collect(),
        )
    }

    /// Whether a scope is one of these, or has fewer actions than one of these.
    fn implies(&self, scope: &str) -> bool {
        let Some((object, actions)) = scope.rsplit_once(':') else {
            return self.0.contains(scope);
        };
        self.0.iter().any(|own| {
            own.rsplit_once(':')
                .is_some_and(|(own_object, own_actions)| {
                    let has = |action| own_actions.split(',').any(|own| own == action);
                    own_object == object && actions.split(',').all(has)
                })
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// What a registry has accepted, or is likely to.
#[derive(Clone)]
pub(super) struct Grant {
    /// The value of `Authorization`.
    header: Arc<str>,
    /// Until when it is worth being sent.
    until: Option<Instant>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl Grant {
    /// A header that is sent until `until`.
    pub(super) fn new(header: String, until: Option<Instant>) -> Self {
        Self {
            header: header.into(),
            until,
        }
    }

    /// The value of `Authorization`.
    pub(super) fn header(&self) -> &str {
        &self.header
    }

    fn is_valid(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.header, &other.header)
    }
}

/// To whom, and for what.
pub(super) type Key = (Origin, Scopes);
type Slot = Arc<Mutex<Option<Grant>>>;

/// All grants of a client.
#[derive(Debug, Default)]
pub(super) struct Grants(Mutex<HashMap<Key, Slot>>);

impl Grants {
    /// The grant for this, if there is one that has not expired.
    pub(super) fn current(&self, key: &Key) -> Option<Grant> {
        let slot = self.slot(key);
        let grant = lock(&slot).clone();
        grant.filter(Grant::is_valid)
    }

    /// Another grant than `refused`: the one that somebody has fetched meanwhile, else what
    /// `fetch` brings.
    pub(super) fn renew<E>(
        &self,
        key: &Key,
        refused: Option<&Grant>,
        fetch: impl FnOnce() -> Result<Grant, E>,
    ) -> Result<Grant, E> {
        let slot = self.slot(key);
        let mut held = lock(&slot);
        if let Some(grant) = held.as_ref().filter(|grant| grant.is_valid())
            && !refused.is_some_and(|refused| refused.is_same(grant))
        {
            return Ok(grant.clone());
        }
        *held = None;
        let grant = fetch()?;
        *held = Some(grant.clone());
        Ok(grant)
    }

    fn slot(&self, key: &Key) -> Slot {
        Arc::clone(lock(&self.0).entry(key.clone()).or_default())
    }
}

/// A thread that panicked leaves nothing half-done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_a_challenge_are_added_only_if_they_are_more() {
        let push = Scopes::push("a/b");
        let shown = |scopes: &Scopes| scopes.iter().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(push.merged(Some("repository:a/b:pull")), push);
        assert_eq!(push.merged(None), push);
        assert_eq!(
            shown(&push.merged(Some("repository:a/b:delete registry:catalog:*"))),
            [
                "registry:catalog:*",
                "repository:a/b:delete",
                "repository:a/b:pull,push"
            ]
        );
    }

    #[test]
    fn one_thread_fetches_and_the_others_take_what_it_got() {
        let grants = Grants::default();
        let key = (Origin::new(true, "r.io").expect("valid"), Scopes::pull("a"));
        let fetched = std::sync::atomic::AtomicU32::new(0);
        let fetch = || {
            fetched.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok::<_, ()>(Grant::new("Bearer x".into(), None))
        };
        assert!(grants.current(&key).is_none());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| grants.renew(&key, None, fetch));
            }
        });
        assert_eq!(fetched.load(std::sync::atomic::Ordering::SeqCst), 1);

        let refused = grants.current(&key).expect("granted");
        let next = grants.renew(&key, Some(&refused), fetch).expect("fetched");
        assert!(!next.is_same(&refused));
        assert_eq!(fetched.load(std::sync::atomic::Ordering::SeqCst), 2);

        let expired = Grant::new("Bearer y".into(), Some(Instant::now()));
        grants
            .renew(&key, Some(&next), || Ok::<_, ()>(expired))
            .expect("fetched");
        assert!(grants.current(&key).is_none());
    }
}
