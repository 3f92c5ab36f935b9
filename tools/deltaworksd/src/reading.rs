//! Reading a whole file that must be text, and not too long: a pipe without an end, say.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The text of `file`.
///
/// # Errors
/// If it cannot be read, is longer than `bytes_max`, or is no UTF-8.
pub fn read_text(file: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let message = format!("longer than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}
