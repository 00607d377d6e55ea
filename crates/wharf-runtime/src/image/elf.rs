//! Just enough of ELF to know whether an executable needs a loader, and which.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// `\x7fELF`, 64 bits, the host's byte order: what this program itself is, wherever it runs.
const MAGIC: [u8; 4] = *b"\x7fELF";
const CLASS_64: u8 = 2;
const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const PT_INTERP: u32 = 3;
/// The kernel's own limit for the name of a loader is a page.
const INTERPRETER_LIMIT: u64 = 4096;

/// The loader of a dynamically linked executable; `None` when it is static.
pub(super) fn interpreter(program: &Path) -> io::Result<Option<PathBuf>> {
    let file = File::open(program)?;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0)?;
    if !header.starts_with(&MAGIC) || header.get(4) != Some(&CLASS_64) {
        return Err(io::Error::other("not a 64-bit ELF executable"));
    }
    let table = u64_at(&header, 32);
    let count = u64::from(u16_at(&header, 56));
    for index in 0..count {
        let size = u64::try_from(PROGRAM_HEADER).unwrap_or_default();
        let offset = table.saturating_add(index.saturating_mul(size));
        let mut entry = [0; PROGRAM_HEADER];
        file.read_exact_at(&mut entry, offset)?;
        if u32_at(&entry, 0) == PT_INTERP {
            return name(&file, u64_at(&entry, 8), u64_at(&entry, 32)).map(Some);
        }
    }
    Ok(None)
}

fn name(file: &File, offset: u64, length: u64) -> io::Result<PathBuf> {
    let length = usize::try_from(length.min(INTERPRETER_LIMIT)).unwrap_or_default();
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    bytes.retain(|byte| *byte != 0);
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let part = bytes.get(offset..offset + N).and_then(|part| part.try_into().ok());
    part.unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_ne_bytes(array(bytes, offset))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(array(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(array(bytes, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_test_has_an_absolute_loader_or_none() {
        let found = interpreter(Path::new("/proc/self/exe")).unwrap();
        assert!(found.is_none_or(|path| path.is_absolute() && path.exists()));
    }

    #[test]
    fn a_script_is_no_executable_of_ours() {
        assert!(interpreter(Path::new("/proc/self/maps")).is_err());
    }
}
