//! How many bytes of requests are held at once: in all, for one run, and for whoever has shown no
//! credential yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes that are held.
#[derive(Debug, Default)]
pub struct Bytes {
    taken: AtomicUsize,
}

impl Bytes {
    fn take(&self, more: usize, most: usize) -> bool {
        let add = |taken: usize| taken.checked_add(more).filter(|sum| *sum <= most);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
    }

    fn give(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// How many are held.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

/// Whose bytes they are.
#[derive(Clone, Debug)]
pub enum Owner {
    /// A run's, by its credential.
    Run(Arc<Bytes>),
    /// Of whoever names his run within the body, or nowhere.
    Anonymous,
}

/// Why no more bytes may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The run has as many as one run may.
    Run,
    /// Those without a credential have as many as they may.
    Anonymous,
    /// Everybody together has as many as are held.
    All,
}

/// What all large bodies share.
#[derive(Debug)]
pub struct Bodies {
    most: usize,
    all: Bytes,
    anonymous: Bytes,
}

impl Bodies {
    /// Holds at most `most` bytes; whatever stands in the setting, four of the largest bodies.
    pub fn new(most: usize, largest: usize) -> Arc<Self> {
        let most = most.max(largest.saturating_mul(4));
        Arc::new(Self { most, all: Bytes::default(), anonymous: Bytes::default() })
    }

    /// Begins to count a body of `owner`: a run may hold a quarter of all bytes, those without a
    /// credential half of them.
    pub fn begin(self: &Arc<Self>, owner: Owner) -> Held {
        Held { of: Arc::clone(self), owner, bytes: 0 }
    }

    /// How many bytes are held.
    pub fn taken(&self) -> usize {
        self.all.taken()
    }
}

/// The bytes of one body.
#[derive(Debug)]
pub struct Held {
    of: Arc<Bodies>,
    owner: Owner,
    bytes: usize,
}

impl Held {
    /// Holds `bytes` of the body from now on, which may be less than before.
    ///
    /// # Errors
    /// If that is too much; then as many are held as before.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Full> {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.grow(more)?,
            None => self.shrink(self.bytes - bytes),
        }
        self.bytes = bytes;
        Ok(())
    }

    fn grow(&self, more: usize) -> Result<(), Full> {
        let (share, most, full) = match &self.owner {
            Owner::Run(share) => (&**share, self.of.most / 4, Full::Run),
            Owner::Anonymous => (&self.of.anonymous, self.of.most / 2, Full::Anonymous),
        };
        if !share.take(more, most) {
            return Err(full);
        }
        if !self.of.all.take(more, self.of.most) {
            share.give(more);
            return Err(Full::All);
        }
        Ok(())
    }

    fn shrink(&self, bytes: usize) {
        match &self.owner {
            Owner::Run(share) => share.give(bytes),
            Owner::Anonymous => self.of.anonymous.give(bytes),
        }
        self.of.all.give(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_run_holds_a_quarter_the_nameless_half_and_nobody_more_than_there_is() {
        let bodies = Bodies::new(100, 1);
        let runs: Vec<Arc<Bytes>> = (0..4).map(|_| Arc::default()).collect();
        let mut first = bodies.begin(Owner::Run(Arc::clone(&runs[0])));
        let mut second = bodies.begin(Owner::Run(Arc::clone(&runs[0])));
        assert_eq!(first.resize(20), Ok(()));
        assert_eq!(second.resize(6), Err(Full::Run));
        assert_eq!(second.resize(5), Ok(()));
        let mut nameless = bodies.begin(Owner::Anonymous);
        assert_eq!(nameless.resize(51), Err(Full::Anonymous));
        assert_eq!(nameless.resize(50), Ok(()));
        let mut third = bodies.begin(Owner::Run(Arc::clone(&runs[1])));
        assert_eq!(third.resize(25), Ok(()));
        let mut fourth = bodies.begin(Owner::Run(Arc::clone(&runs[2])));
        assert_eq!(fourth.resize(1), Err(Full::All));
        assert_eq!(first.resize(10), Ok(()), "it may shrink");
        assert_eq!(fourth.resize(10), Ok(()));
        drop((first, second, nameless, third, fourth));
        assert_eq!(bodies.taken(), 0);
        assert!(runs.iter().all(|run| run.taken() == 0));
    }

    #[test]
    fn one_of_the_largest_bodies_always_fits() {
        let bodies = Bodies::new(10, 1000);
        assert_eq!(bodies.begin(Owner::Run(Arc::default())).resize(1000), Ok(()));
    }
}
