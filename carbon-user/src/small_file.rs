//! Secrets and certificates that a person names: read with a bound, as what is named may be `/dev/zero`.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Largest file with a token.
pub const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Largest file with certificates or their key.
pub const CERTIFICATES_BYTES_MAX: u64 = 1 << 20;

/// All of a file or pipe; an error where it is larger.
pub fn bytes(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if length as u64 > bytes_max {
        let reason = format!("it is longer than the {bytes_max} bytes that are read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// The same of text.
pub fn text(path: &Path, bytes_max: u64) -> io::Result<String> {
    String::from_utf8(bytes(path, bytes_max)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, "12345678").unwrap();
        assert_eq!(text(&path, 8).unwrap(), "12345678");
        assert_eq!(text(&path, 7).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let endless = text(Path::new("/dev/zero"), SECRET_BYTES_MAX).unwrap_err();
        assert_eq!(endless.to_string(), "it is longer than the 65536 bytes that are read");
        std::fs::write(&path, b"\xff").unwrap();
        assert_eq!(text(&path, 8).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
