//! Secrets: tokens, and what is in public links.

use std::fs::File;
use std::io::{self, Read as _};

/// How tokens begin, so that they are recognised where they should not be.
pub const TOKEN_PREFIX: &str = "carbon_";

/// 256 bits from the kernel's generator (random(4)), as hexadecimal digits behind `prefix`.
pub fn fresh(prefix: &str) -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut text = prefix.to_owned();
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike() {
        let (one, other) = (fresh(TOKEN_PREFIX).unwrap(), fresh(TOKEN_PREFIX).unwrap());
        assert_eq!((one.len(), other.len()), (71, 71));
        assert_ne!(one, other);
    }
}
