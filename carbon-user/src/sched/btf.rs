//! Offsets of kernel fields, from the running kernel's own type information (BTF).
//!
//! A reader of just what is asked for: it looks names up in the raw bytes and keeps nothing, since a parsed copy
//! of a kernel's 150,000 types would be most of the program's memory. Format: Documentation/bpf/btf.rst.

use super::SchedError;
use std::path::Path;

const MAGIC: u16 = 0xeb9f;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;

/// The types of a kernel.
#[derive(Debug)]
pub(super) struct KernelTypes {
    bytes: Vec<u8>,
    /// Where each type begins; index is its id less one.
    starts: Vec<u32>,
    types: usize,
    strings: usize,
}

/// One type's header.
#[derive(Clone, Copy)]
struct Type {
    start: usize,
    name: u32,
    kind: u32,
    members: usize,
    flag: bool,
}

impl KernelTypes {
    /// Reads `kernel/btf/vmlinux` below the sysfs root.
    pub(super) fn read(sys: &Path) -> Result<Self, SchedError> {
        let path = sys.join("kernel/btf/vmlinux");
        let bytes = std::fs::read(&path)
            .map_err(|source| SchedError::Read { path: path.display().to_string(), source })?;
        Self::parse(bytes).ok_or_else(|| SchedError::Btf { what: "the header or a type".into() })
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        if u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = usize::try_from(word(&bytes, 4)?).ok()?;
        let types = header + usize::try_from(word(&bytes, 8)?).ok()?;
        let types_len = usize::try_from(word(&bytes, 12)?).ok()?;
        let strings = header + usize::try_from(word(&bytes, 16)?).ok()?;
        let mut this = Self { bytes, starts: Vec::new(), types, strings };
        let mut start = types;
        while start < types + types_len {
            this.starts.push(u32::try_from(start - types).ok()?);
            start += this.at(start)?.size()?;
        }
        Some(this)
    }

    fn at(&self, start: usize) -> Option<Type> {
        let info = word(&self.bytes, start + 4)?;
        Some(Type {
            start,
            name: word(&self.bytes, start)?,
            kind: (info >> 24) & 0x1f,
            members: usize::try_from(info & 0xffff).ok()?,
            flag: info >> 31 != 0,
        })
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        let index = usize::try_from(id.checked_sub(1)?).ok()?;
        self.at(self.types + usize::try_from(*self.starts.get(index)?).ok()?)
    }

    fn by_name(&self, name: &str, kind: u32) -> Option<Type> {
        self.starts
            .iter()
            .filter_map(|start| self.at(self.types + usize::try_from(*start).ok()?))
            .find(|found| found.kind == kind && self.is_named(found.name, name))
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        let Ok(offset) = usize::try_from(offset) else { return false };
        let rest = self.bytes.get(self.strings + offset..).unwrap_or(&[]);
        rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Whether the kernel has a struct of this name.
    pub(super) fn has_struct(&self, name: &str) -> bool {
        self.by_name(name, KIND_STRUCT).is_some()
    }

    /// Offset in bytes of a field, by path through nested structs: `task_struct`, `["se", "sum_exec_runtime"]`.
    /// Anonymous structs and unions are looked through. `None` where the kernel has no such field.
    pub(super) fn offset(&self, structure: &str, path: &[&str]) -> Option<u64> {
        let mut current = self.by_name(structure, KIND_STRUCT)?;
        let mut offset = 0;
        for (step, field) in path.iter().enumerate() {
            let (bits, target) = self.member(current, field)?;
            offset += bits / 8;
            if step + 1 < path.len() {
                current = self.by_id(target)?;
            }
        }
        Some(u64::from(offset))
    }

    /// Bit offset and type of a member.
    fn member(&self, of: Type, field: &str) -> Option<(u32, u32)> {
        if of.kind != KIND_STRUCT && of.kind != KIND_UNION {
            return None;
        }
        for index in 0..of.members {
            let at = of.start + 12 + 12 * index;
            let (name, target) = (word(&self.bytes, at)?, word(&self.bytes, at + 4)?);
            let raw = word(&self.bytes, at + 8)?;
            let bits = if of.flag { raw & 0x00ff_ffff } else { raw };
            if self.is_named(name, field) {
                return Some((bits, target));
            }
            if self.is_named(name, "")
                && let Some((inner, target)) = self.by_id(target).and_then(|inner| self.member(inner, field))
            {
                return Some((bits + inner, target));
            }
        }
        None
    }

    /// Value of an enumerator.
    pub(super) fn enumerator(&self, enumeration: &str, name: &str) -> Option<u64> {
        let of = self.by_name(enumeration, KIND_ENUM)?;
        (0..of.members).find_map(|index| {
            let at = of.start + 12 + 8 * index;
            let found = self.is_named(word(&self.bytes, at)?, name);
            found.then(|| word(&self.bytes, at + 4).map(u64::from)).flatten()
        })
    }
}

impl Type {
    /// Bytes of the whole type, by kind.
    fn size(self) -> Option<usize> {
        let extra = match self.kind {
            1 | 14 | 17 => 4,
            KIND_ARRAY => 12,
            KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * self.members,
            KIND_ENUM | 13 => 8 * self.members,
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        };
        Some(12 + extra)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; struct inner b; union { long c; }; }; struct inner { char pad[4]; int d; };
    /// enum colour { red, green = 7 };`
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0a\0b\0c\0inner\0d\0colour\0red\0green\0int\0";
        let name = |wanted: &str| {
            let wanted = [b"\0", wanted.as_bytes(), b"\0"].concat();
            u32::try_from(strings.windows(wanted.len()).position(|w| w == wanted).unwrap() + 1).unwrap()
        };
        let info = |kind: u32, members: u32| kind << 24 | members;
        let types: Vec<u32> = [
            vec![name("int"), info(1, 0), 4, 0],
            vec![name("inner"), info(KIND_STRUCT, 1), 8, name("d"), 1, 32],
            vec![0, info(KIND_UNION, 1), 8, name("c"), 1, 0],
            vec![name("outer"), info(KIND_STRUCT, 3), 24, name("a"), 1, 0, name("b"), 2, 32, 0, 3, 128],
            vec![name("colour"), info(KIND_ENUM, 2), 4, name("red"), 0, name("green"), 7],
        ]
        .concat();
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for field in [24, 0, length(&types), length(&types), length(strings)] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn fields_are_found_by_path_and_through_anonymous_members() {
        let types = KernelTypes::parse(sample()).unwrap();
        assert_eq!(types.offset("outer", &["a"]), Some(0));
        assert_eq!(types.offset("outer", &["b", "d"]), Some(8));
        assert_eq!(types.offset("outer", &["c"]), Some(16));
        assert_eq!(types.offset("outer", &["x"]), None);
        assert_eq!(types.offset("out", &["a"]), None);
        assert_eq!(types.enumerator("colour", "green"), Some(7));
    }

    #[test]
    fn cut_type_information_is_no_panic() {
        let whole = sample();
        for length in 0..whole.len() {
            if let Some(types) = KernelTypes::parse(whole[..length].to_vec()) {
                types.offset("outer", &["b", "d"]);
                types.enumerator("colour", "green");
            }
        }
    }
}
