//! One at a time for each key: what a whole room asks for at once is made once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Who has which key waits in line.
#[derive(Debug)]
pub struct Turns<K>(Mutex<HashMap<K, Arc<Mutex<()>>>>);

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash> Turns<K> {
    /// Runs `make` when nobody else does so for `key`. Whoever waited should look whether it has been made meanwhile.
    pub fn take<T>(&self, key: K, make: impl FnOnce() -> T) -> T {
        let turn = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        let held = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let made = make();
        drop(held);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // This one and the map's: nobody waits. No other can take it while the map is held.
        if Arc::strong_count(&turn) == 2 {
            all.remove(&key);
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn one_at_a_time_for_each_key_and_none_is_kept() {
        let (turns, inside) = (Turns::default(), [AtomicUsize::new(0), AtomicUsize::new(0)]);
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (turns, inside) = (&turns, &inside[n % 2]);
                scope.spawn(move || {
                    for _ in 0..200 {
                        turns.take(n % 2, || {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        assert!(turns.0.lock().expect("no panic").is_empty());
    }

    #[test]
    fn other_keys_do_not_wait() {
        let (turns, both) = (Turns::default(), Barrier::new(2));
        std::thread::scope(|scope| {
            for key in 0..2 {
                let (turns, both) = (&turns, &both);
                scope.spawn(move || turns.take(key, || both.wait()));
            }
        });
    }
}
