//! Gives memory back that a process took to start and does not need to wait.

use std::fs;

use rustix::mm::Advice;

/// More than the functions here use, and a signal's handler beside them.
const STACK_KEPT: usize = 64 << 10;
/// The largest page on the machines this is made for.
const PAGE: usize = 64 << 10;

/// A part of a process' memory, as `/proc/self/smaps` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mapping {
    start: usize,
    length: usize,
}

/// Frees what the allocator keeps, and forgets pages of the program's file: those that are needed
/// again come back from the page cache, where they are shared with every process of the program.
///
/// For processes there are many of, and that mostly sleep.
pub fn release() {
    trim_allocator();
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for mapping in forgettable(&smaps).iter().chain(&unused_stack(&smaps)) {
        forget(mapping);
    }
    // The text of smaps itself.
    drop(smaps);
    trim_allocator();
}

#[expect(unsafe_code, reason = "malloc_trim(3) has no safe interface")]
fn trim_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number and touches nothing but free memory of the C library's own.
    // JUSTIFICATION: the allocator gives nothing back by itself below 128 kB.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[expect(unsafe_code, reason = "madvise(2) works on addresses")]
fn forget(mapping: &Mapping) {
    let start = std::ptr::with_exposed_provenance_mut(mapping.start);
    // SAFETY: `forgettable` chose mappings of files that cannot be written to and of which not one
    // page is our own, so that what comes back is what was there; `unused_stack` chose a part of the
    // stack that no function uses now, and a later one expects nothing in.
    // JUSTIFICATION: there is no other way to take pages out of a process.
    let _only_costs_memory =
        unsafe { rustix::mm::madvise(start, mapping.length, Advice::LinuxDontNeed) };
}

/// The mappings of files that are read only and whose every page is the file's. Relocated parts of
/// a program are read-only, too, but have pages of their own.
fn forgettable(smaps: &str) -> Vec<Mapping> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if let Some(header) = header(line) {
            current = header;
        } else if line.starts_with("Anonymous:") {
            let own = line.split_whitespace().nth(1) != Some("0");
            found.extend(current.take().filter(|_| !own));
        }
    }
    found
}

/// The part of the main thread's stack that deeper calls have used, well below where this one is.
fn unused_stack(smaps: &str) -> Option<Mapping> {
    let here = std::ptr::from_ref(&smaps).addr();
    let line = smaps.lines().find(|line| line.ends_with("[stack]"))?;
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let number = |text: &str| usize::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    let length = here.checked_sub(start)?.checked_sub(STACK_KEPT)? & !(PAGE - 1);
    (start..end).contains(&here).then_some(Mapping { start, length })
}

/// `Some(None)` for the first line of a mapping that is not to be forgotten whatever follows.
fn header(line: &str) -> Option<Option<Mapping>> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let number = |text: &str| usize::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    let rights = fields.next()?;
    let is_file = fields.nth(3).is_some_and(|path| path.starts_with('/'));
    let fixed = !rights.contains('w') && rights.ends_with('p');
    let length = end.checked_sub(start)?;
    Some((is_file && fixed).then_some(Mapping { start, length }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_files_are_forgotten() {
        let smaps = "\
            1000-3000 r-xp 00000000 fe:00 1 /bin/program\nSize: 8 kB\nAnonymous: 0 kB\n\
            3000-4000 r--p 00000000 fe:00 1 /bin/program\nAnonymous: 4 kB\n\
            4000-5000 rw-p 00000000 fe:00 1 /bin/program\nAnonymous: 0 kB\n\
            5000-6000 r--p 00000000 00:00 0 \nAnonymous: 0 kB\n\
            6000-7000 r-xp 00000000 00:00 0 [vdso]\nAnonymous: 0 kB\n\
            7000-8000 r--s 00000000 fe:00 2 /some/file\nAnonymous: 0 kB\n";
        assert_eq!(forgettable(smaps), [Mapping { start: 0x1000, length: 0x2000 }]);
    }

    #[test]
    fn a_process_goes_on_after_it() {
        let text = "still here".repeat(100);
        release();
        assert_eq!(text.len(), 1_000);
        assert!(fs::read_to_string("/proc/self/status").is_ok());
    }
}
