//! Owner, mode, times and extended attributes of one tar entry.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use tar::Entry;

use crate::error::{Error, Result};
use crate::image::unpack::owner;

const PAX_XATTR: &str = "SCHILY.xattr.";
const PAX_MTIME: &str = "mtime";
/// Kept because programs depend on them. `trusted.*` is not: `trusted.overlay.redirect` would let
/// a layer point at other places of the layers below.
const KEPT_XATTRS: [&str; 4] =
    ["user.", "security.capability", "system.posix_acl_access", "system.posix_acl_default"];

/// What a tar entry says about its file besides the content.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    uid: u32,
    gid: u32,
    mode: u32,
    seconds: i64,
    nanoseconds: u32,
    xattrs: Vec<(String, Vec<u8>)>,
}

// === impl Attributes ===

impl Attributes {
    pub(super) fn of<R: Read>(entry: &mut Entry<'_, R>) -> Result<Self> {
        let bad = |e: io::Error| Error::Layer(format!("broken tar header: {e}"));
        let header = entry.header();
        // An unset field is blank, which the reader calls no number; elsewhere it means zero.
        let number = |id: io::Result<u64>| {
            let id = id.unwrap_or_default();
            u32::try_from(id).map_err(|_| Error::Layer(format!("user or group id {id}")))
        };
        let mut attributes = Self {
            uid: number(header.uid())?,
            gid: number(header.gid())?,
            mode: header.mode().unwrap_or_default() & 0o7777,
            seconds: i64::try_from(header.mtime().unwrap_or_default()).unwrap_or_default(),
            ..Self::default()
        };
        for record in entry.pax_extensions().map_err(bad)?.into_iter().flatten() {
            let record = record.map_err(bad)?;
            // Names that are not UTF-8 are none of those we look for.
            let Ok(key) = record.key() else { continue };
            attributes.pax(key, record.value_bytes());
        }
        Ok(attributes)
    }

    fn pax(&mut self, key: &str, value: &[u8]) {
        if key == PAX_MTIME {
            if let Some((seconds, nanoseconds)) = parse_time(value) {
                (self.seconds, self.nanoseconds) = (seconds, nanoseconds);
            }
        } else if let Some(name) = key.strip_prefix(PAX_XATTR)
            && KEPT_XATTRS.iter().any(|kept| name.starts_with(kept) && !name.contains('\0'))
        {
            self.xattrs.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Only what [`Attributes::apply_times`] needs.
    pub(super) fn times_only(self) -> Self {
        Self { seconds: self.seconds, nanoseconds: self.nanoseconds, ..Self::default() }
    }

    /// Sets everything on an open file or directory.
    pub(super) fn apply(&self, fd: impl AsFd) -> io::Result<()> {
        let (uid, gid) = owner(self.uid, self.gid);
        rustix::fs::fchown(&fd, uid, gid)?;
        // After the owner: changing it clears setuid and file capabilities.
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.xattrs {
            match rustix::fs::fsetxattr(&fd, name.as_str(), value, XattrFlags::empty()) {
                // The file system has none; the files work without.
                Ok(()) | Err(Errno::NOTSUP) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.apply_times(&fd)
    }

    /// Sets owner, mode and times of `name`, which cannot be opened: a link or a device.
    pub(super) fn apply_at(&self, parent: &OwnedFd, name: &Path, kind: FileType) -> io::Result<()> {
        let (uid, gid) = owner(self.uid, self.gid);
        rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != FileType::Symlink {
            let mode = Mode::from_raw_mode(self.mode);
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(parent, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(super) fn apply_times(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(rustix::fs::futimens(fd, &self.times())?)
    }

    fn times(&self) -> Timestamps {
        let time = Timespec { tv_sec: self.seconds, tv_nsec: self.nanoseconds.into() };
        Timestamps { last_access: time, last_modification: time }
    }
}

/// `SECONDS[.FRACTION]`, the seconds possibly negative.
fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds = digits.parse().ok()?;
    let seconds: i64 = seconds.parse().ok()?;
    // -1.5 is half a second after -2.
    if seconds < 0 && nanoseconds > 0 {
        return Some((seconds - 1, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_times_have_fractions_and_signs() {
        assert_eq!(parse_time(b"12"), Some((12, 0)));
        assert_eq!(parse_time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(parse_time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(parse_time(b"1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(parse_time(b"x"), None);
    }
}
