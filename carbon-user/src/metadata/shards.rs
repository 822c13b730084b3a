//! A map that is published whole after each change: what was published before and what is published next share all parts
//! that are the same, so that one more name copies some sixty entries, and not all sixteen thousand.

use rustc_hash::{FxBuildHasher, FxHashMap};
use std::borrow::Borrow;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

/// Parts of a map.
const PARTS: usize = 256;

/// The map. A clone is cheap, and stays as it is.
#[derive(Clone, Debug)]
pub(super) struct Shards<K, V> {
    parts: Vec<Arc<FxHashMap<K, V>>>,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self { parts: vec![Arc::default(); PARTS] }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Shards<K, V> {
    fn part<Q: Hash + ?Sized>(key: &Q) -> usize {
        // The map inside looks at other bits.
        usize::try_from((FxBuildHasher.hash_one(key) >> 32) % PARTS as u64).unwrap_or(0)
    }

    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.parts.get(Self::part(key))?.get(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        Arc::make_mut(self.parts.get_mut(Self::part(&key))?).insert(key, value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let part = self.parts.get_mut(Self::part(key)).filter(|part| part.contains_key(key))?;
        Arc::make_mut(part).remove(key)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    #[cfg(test)]
    fn shared_with(&self, other: &Self) -> usize {
        self.parts.iter().zip(&other.parts).filter(|(one, other)| Arc::ptr_eq(one, other)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_change_copies_one_part_and_what_was_published_stays() {
        let mut map = Shards::default();
        for number in 0..16_384 {
            map.insert(number.to_string(), number);
        }
        let published = map.clone();
        assert_eq!(published.shared_with(&map), PARTS);
        assert_eq!(map.insert("new".to_owned(), 1), None);
        assert_eq!(published.shared_with(&map), PARTS - 1);
        assert_eq!((published.get("new"), map.get("new")), (None, Some(&1)));
        assert_eq!(map.remove(&"nothing".to_owned()), None);
        assert_eq!(published.shared_with(&map), PARTS - 1, "nothing was changed");
        let largest = map.parts.iter().map(|part| part.len()).max().unwrap();
        assert!(largest < 4 * 16_384 / PARTS, "{largest} of 64 on average");
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0_u16..600, any::<Option<u8>>()), 0..900)) {
            let (mut map, mut plain) = (Shards::default(), HashMap::new());
            for (key, value) in steps {
                if let Some(value) = value {
                    prop_assert_eq!(map.insert(key, value), plain.insert(key, value));
                } else {
                    prop_assert_eq!(map.remove(&key), plain.remove(&key));
                }
                prop_assert_eq!(map.len(), plain.len());
            }
            prop_assert!((0..600).all(|key| map.get(&key) == plain.get(&key)));
        }
    }
}
