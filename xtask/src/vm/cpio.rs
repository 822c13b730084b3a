//! The archive that a kernel unpacks as its first file system: cpio's format `newc`
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that grows.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    paths: BTreeSet<String>,
}

impl Archive {
    /// A directory and all above it.
    pub(super) fn directory(&mut self, path: &str) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
        self.entry(path, DIRECTORY, (0, 0), &[]);
    }

    /// A file that may be executed, and the directories above it.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.below(path, PROGRAM, (0, 0), content);
    }

    /// A symbolic link, and the directories above it.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.below(path, LINK, (0, 0), target.as_bytes());
    }

    /// A character device, and the directories above it.
    pub(super) fn device(&mut self, path: &str, number: (u32, u32)) {
        self.below(path, CHARACTER_DEVICE, number, &[]);
    }

    /// Whether there is an entry of that path.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.paths.contains(&*path.to_string_lossy())
    }

    /// The whole archive, with its end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn below(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above);
        }
        self.entry(path, mode, device, content);
    }

    /// An entry; none where the path has one already.
    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        if path.is_empty() || !self.paths.insert(path.to_owned()) {
            return;
        }
        let name = path.trim_start_matches('/');
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let inode = length(self.paths.len());
        let fields =
            [inode, mode, 0, 0, 1, 0, length(content.len()), 0, 0, major, minor, length(name.len() + 1), 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_first_and_once() {
        let mut archive = Archive::default();
        archive.file("/a/b/one", b"12345");
        archive.file("/a/b/two", b"");
        assert!(archive.has(Path::new("/a/b/one")) && !archive.has(Path::new("/a/c")));
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let places: Vec<usize> = ["a\0", "a/b\0", "a/b/one\0", "12345", "a/b/two\0", "TRAILER!!!\0"]
            .map(|part| text.find(part).unwrap())
            .into();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(text.matches("070701").count(), 5);
        assert_eq!(bytes.len() % 4, 0);
        assert!(text.starts_with("07070100000001000041ed"), "{}", &text[..32]);
    }
}
