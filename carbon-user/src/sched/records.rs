//! Records of the kernel programs, decoded from their bytes.

use crate::units::CgroupId;
use carbon_ebpf::{COMM_LEN, PACKAGES_MAX, PATH_RECORD_HEAD, PathRecord, TaskRecord, kind};

/// A cgroup's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CgroupTime {
    /// Which one.
    pub(super) cgroup: CgroupId,
    /// The one above it, where its time is in that one's too.
    pub(super) parent: Option<CgroupId>,
    /// By package.
    pub(super) exec_ns: [u64; PACKAGES_MAX],
}

/// What a row or event buffer holds.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    /// A live cgroup.
    Cgroup(CgroupTime),
    /// Time of all tasks of the machine.
    Total([u64; PACKAGES_MAX]),
    /// A removed cgroup.
    Removed(CgroupTime),
    /// A removed cgroup with its final.
    Released(CgroupTime),
    /// A new cgroup and its path below the root of the hierarchy.
    Made(u64, String),
    /// A live task.
    Task(TaskRecord),
    /// A task's final.
    Freed(TaskRecord),
    /// A task that executed another program.
    Exec(TaskRecord),
    /// A task that begins to exit.
    Exit(TaskRecord),
}

/// Decodes one record; `None` for one of an unknown kind or a wrong length.
pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
    let found: u64 = bytemuck::try_pod_read_unaligned(bytes.get(..8)?).ok()?;
    match found {
        kind::CGROUP | kind::TOTAL | kind::CGROUP_REMOVED | kind::CGROUP_RELEASED => {
            // By the word: this is done for each cgroup of every snapshot.
            let mut words = bytes.get(8..)?.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word));
            let (cgroup, parent) = (words.next()?, words.next()?);
            let mut exec_ns = [0; PACKAGES_MAX];
            for (nanos, word) in exec_ns.iter_mut().zip(words) {
                *nanos = word;
            }
            let parent = (parent != 0).then_some(CgroupId(parent));
            let time = CgroupTime { cgroup: CgroupId(cgroup), parent, exec_ns };
            Some(match found {
                kind::CGROUP => Record::Cgroup(time),
                kind::TOTAL => Record::Total(time.exec_ns),
                kind::CGROUP_REMOVED => Record::Removed(time),
                _ => Record::Released(time),
            })
        }
        kind::CGROUP_MADE => {
            let record: PathRecord = padded(bytes, PATH_RECORD_HEAD)?;
            let path = record.path.get(..usize::try_from(record.length).ok()?)?;
            Some(Record::Made(record.cgroup, String::from_utf8_lossy(path).into_owned()))
        }
        kind::TASK => Some(Record::Task(padded(bytes, size_of::<TaskRecord>())?)),
        kind::TASK_FREED => Some(Record::Freed(padded(bytes, size_of::<TaskRecord>())?)),
        kind::TASK_EXEC => Some(Record::Exec(padded(bytes, size_of::<TaskRecord>())?)),
        kind::TASK_EXIT => Some(Record::Exit(padded(bytes, size_of::<TaskRecord>())?)),
        _ => None,
    }
}

/// A record of which only the first bytes were sent, at least `head` of them; the rest is zero.
fn padded<T: bytemuck::Pod>(bytes: &[u8], head: usize) -> Option<T> {
    if bytes.len() < head {
        return None;
    }
    let mut record = T::zeroed();
    let whole = bytemuck::bytes_of_mut(&mut record);
    let length = bytes.len().min(whole.len());
    whole.get_mut(..length)?.copy_from_slice(bytes.get(..length)?);
    Some(record)
}

/// A command's name without the zero bytes that end it.
pub(super) fn comm(bytes: &[u8; COMM_LEN]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(COMM_LEN);
    String::from_utf8_lossy(bytes.get(..end).unwrap_or(&[])).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_with_fewer_packages_is_padded() {
        let bytes: Vec<u8> =
            [kind::CGROUP, 42, 7, 5, 6].iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
        let mut exec_ns = [0; PACKAGES_MAX];
        exec_ns[..2].copy_from_slice(&[5, 6]);
        let time = CgroupTime { cgroup: CgroupId(42), parent: Some(CgroupId(7)), exec_ns };
        assert_eq!(decode(&bytes), Some(Record::Cgroup(time)));
        assert_eq!(decode(&bytes[..12]), None);
    }

    #[test]
    fn a_path_is_cut_at_its_length() {
        let mut bytes: Vec<u8> =
            [kind::CGROUP_MADE, 7, 3].iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
        bytes.extend(b"/ab\0rest");
        assert_eq!(decode(&bytes), Some(Record::Made(7, "/ab".into())));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u64..12) {
            let mut bytes = bytes;
            if bytes.len() >= 8 {
                bytes[..8].copy_from_slice(&kind.to_ne_bytes());
            }
            decode(&bytes);
        }
    }
}
