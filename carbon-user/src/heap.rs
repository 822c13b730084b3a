//! The heap of a program that runs for weeks: how much of what was freed the C library may keep, and a table after a burst.
//!
//! Small and large blocks live side by side in glibc's heap, and one of them in use keeps all below it resident; each thread may
//! have a heap of its own besides (`mallopt(3)`, `malloc_trim(3)`). Other C libraries give back by themselves, and are left alone.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Blocks of this size and more have pages of their own, which go back to the kernel when the block is freed; by itself glibc
/// raises the size to that of the largest block that was freed, up to 32 MiB.
#[cfg(target_env = "gnu")]
const OWN_PAGES_BYTES: libc::c_int = 64 << 10;

/// So much may stay free at the end of the heap: glibc's own figure, which it doubles and more when it raises the other.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: libc::c_int = 128 << 10;

/// One heap for all threads, and large blocks apart from it: less memory for more system calls. Before threads are started.
#[expect(unsafe_code, reason = "mallopt has no safe form")]
pub fn be_frugal() {
    #[cfg(target_env = "gnu")]
    for (what, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_THRESHOLD, OWN_PAGES_BYTES),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
    ] {
        // SAFETY: takes two numbers, and is safe to call from any thread.
        let set = unsafe { libc::mallopt(what, value) };
        if set == 0 {
            log::debug!("the C library's heap stays as it is: option {what}");
        }
    }
}

/// Gives what is free back to the kernel.
#[expect(unsafe_code, reason = "malloc_trim has no safe form")]
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and is safe to call from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Rooms that a table may keep whatever is in it.
const ROOMS_MIN: usize = 1024;

/// Gives back what a table has room for since a burst: by itself it keeps room for the most that it ever held. Seldom, as it is
/// copied: where three quarters and more are free.
pub fn fit<K: Eq + Hash, V, S: BuildHasher>(table: &mut HashMap<K, V, S>) {
    if table.capacity() > ROOMS_MIN.max(table.len().saturating_mul(4)) {
        table.shrink_to(table.len().saturating_mul(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_burst_took_is_given_back_and_a_table_in_use_is_left_alone() {
        let mut table: HashMap<u32, u32> = (0..100_000).map(|key| (key, key)).collect();
        table.retain(|key, _| *key < 50_000);
        let rooms = table.capacity();
        fit(&mut table);
        assert_eq!(table.capacity(), rooms);
        table.retain(|key, _| *key < 2_000);
        fit(&mut table);
        let fitting = table.capacity();
        assert!(fitting < rooms / 10, "{fitting}");
        fit(&mut table);
        assert_eq!((table.capacity(), table.len(), table.get(&1_999)), (fitting, 2_000, Some(&1_999)));
    }
}
