//! What outlives a host: a file of fixed size, mapped into memory, so that noting an event costs a
//! few stores and what was stored is there after a `kill -9`. One file for each running host, which
//! holds its lock; the files of hosts that ended are taken over by the next. Next: `gate`.

use super::book::{AGE_MAX_MS, InFlight, Known, RECORDS_MAX, Record};
use super::identity::Identity;
use crate::plugin::private_folder;
use memmap2::{MmapOptions, MmapRaw};
use rapidhash::v3::rapidhash_v3;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::time::Duration;

/// How many events are noted as being handled at once; those beyond are handled unnoted. Instances
/// of guests are fewer (`[limits] instances` of the host).
const SLOTS: usize = 4096;

/// How many slots are tried for an event.
const PROBES: usize = 64;

/// The first word of a file, with the number of its format.
const MAGIC: u64 = u64::from_be_bytes(*b"wabbit\0\x01");

/// In words of 64 bits: the header, one slot, one record.
const HEADER: usize = 8;
const SLOT: usize = 4;
const RECORD: usize = 5;
const WORDS: usize = HEADER + SLOTS * SLOT + RECORDS_MAX * RECORD;

/// The file of a running host.
pub struct Pages {
    map: MmapRaw,
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

/// What a host that ended has left behind.
pub struct Left {
    /// The events that it was handling.
    pub in_flight: Vec<InFlight>,
    /// What it knew of others.
    pub records: Vec<Record>,
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Left {
    /// Removes its file, once all of it is kept elsewhere.
    pub fn remove(self) {
        remove(&self.path);
    }
}

impl Pages {
    /// A file of this host's own in `dir`, which is made private to this user, and what hosts of the
    /// same `scope` left there when they ended.
    ///
    /// # Errors
    /// The folder or the file can't be made, locked, filled or mapped.
    pub fn open(dir: &Path, scope: &str) -> io::Result<(Self, Vec<Left>)> {
        private_folder(dir)?;
        let prefix = format!("{:016x}-", rapidhash_v3(scope.as_bytes()));
        let left = left(dir, &prefix)?;
        let (path, file) = own(dir, &prefix)?;
        // Written and not just made longer: a full disk must show now, not when the map is used.
        let words = [MAGIC].into_iter().chain(std::iter::repeat_n(0, WORDS - 1));
        let bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        (&file).write_all(&bytes)?;
        let map = MmapOptions::new().len(bytes.len()).map_raw(&file)?;
        Ok((Self { map, path, _file: file }, left))
    }

    /// Notes that `event` is being handled. The slot that says so; `None` if there is none free.
    pub fn enter(&self, event: InFlight) -> Option<usize> {
        let Identity([first, second]) = event.identity;
        let start = usize::try_from(first).unwrap_or_default();
        let slots = (0..PROBES).map(|probe| start.wrapping_add(probe) % SLOTS);
        let free =
            |slot: &usize| self.slot(*slot)[0].compare_exchange(0, first, Acquire, Relaxed).is_ok();
        let slot = slots.into_iter().find(free)?;
        self.slot(slot)[2].store(event.alone.into(), Relaxed);
        self.slot(slot)[1].store(second, Release);
        Some(slot)
    }

    /// What `slot` notes is not alone any more.
    pub fn join(&self, slot: usize) {
        self.slot(slot)[2].store(0, Release);
    }

    /// What `slot` notes is not being handled any more.
    pub fn leave(&self, slot: usize) {
        self.slot(slot)[1].store(0, Relaxed);
        self.slot(slot)[0].store(0, Release);
    }

    /// Keeps `record` at `place`, or nothing.
    pub fn keep(&self, place: usize, record: Option<Record>) {
        let start = HEADER + SLOTS * SLOT + place * RECORD;
        let words = &self.words()[start..start + RECORD];
        // A host may end between any two of these: what is half written counts as nothing.
        words[0].store(0, SeqCst);
        let Some(Record { identity: Identity([first, second]), known, at }) = record else {
            return;
        };
        words[1].store(second, SeqCst);
        words[2].store(u64::from(known.crashes) << 32 | u64::from(known.suspicions), SeqCst);
        words[3].store(known.attempt.into(), SeqCst);
        words[4].store(at, SeqCst);
        words[0].store(first, SeqCst);
    }

    /// Removes the file: its host ends with nothing to tell.
    pub fn remove(&self) {
        remove(&self.path);
    }

    fn slot(&self, slot: usize) -> &[AtomicU64] {
        let start = HEADER + slot * SLOT;
        &self.words()[start..start + SLOT]
    }

    fn words(&self) -> &[AtomicU64] {
        #[allow(
            unsafe_code,
            reason = "the map is WORDS long, aligned to a page, and lives as long as self; nobody \
                      shortens our own locked file in a folder of mode 0700, and whoever writes to \
                      it meanwhile is what atomics are for"
        )]
        let words = unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), WORDS) };
        words
    }
}

/// Makes the first file of this prefix that is not there yet, and locks it.
fn own(dir: &Path, prefix: &str) -> io::Result<(PathBuf, File)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    for number in 0_u32.. {
        let path = dir.join(format!("{prefix}{number}"));
        match options.open(&path) {
            // A host that starts at the same time may have taken it for one that was left.
            Ok(file) if locked(&file)? => return Ok((path, file)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no name is free"))
}

/// Locks `file`. False if another host has it, or had it and has removed it.
fn locked(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(file.metadata()?.nlink() > 0),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Takes over what was left in `dir` under this prefix; removes what is too old under others.
fn left(dir: &Path, prefix: &str) -> io::Result<Vec<Left>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else { continue };
        if !locked(&file)? {
            continue;
        }
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(prefix.as_bytes()) {
            let (in_flight, records) = read(&file)?;
            all.push(Left { in_flight, records, path, _file: file });
        } else if too_old(&file) {
            remove(&path);
        }
    }
    Ok(all)
}

fn too_old(file: &File) -> bool {
    let changed = file.metadata().and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|changed| changed.elapsed().ok());
    age.is_some_and(|age| age > Duration::from_millis(AGE_MAX_MS))
}

/// What is in a file; nothing if it is of another format, or was never filled.
fn read(mut file: &File) -> io::Result<(Vec<InFlight>, Vec<Record>)> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let words: Vec<u64> =
        bytes.as_chunks().0.iter().map(|word: &[u8; 8]| u64::from_ne_bytes(*word)).collect();
    if words.len() != WORDS || words[0] != MAGIC {
        return Ok((Vec::new(), Vec::new()));
    }
    let (slots, records) = words[HEADER..].split_at(SLOTS * SLOT);
    let in_flight = slots.as_chunks::<SLOT>().0.iter().filter_map(|[first, second, alone, _]| {
        let identity = Identity([*first, *second]);
        (*first != 0 && *second != 0).then_some(InFlight { identity, alone: *alone == 1 })
    });
    let records = records.as_chunks::<RECORD>().0.iter().filter_map(
        |[first, second, counts, attempt, at]| {
            let known = Known {
                crashes: (counts >> 32) as u32,
                suspicions: *counts as u32,
                attempt: *attempt as u32,
            };
            let identity = Identity([*first, *second]);
            (*first != 0).then_some(Record { identity, known, at: *at })
        },
    );
    Ok((in_flight.collect(), records.collect()))
}

/// What can't be removed is read again by the next host, which counts it twice at worst.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a file that is not needed can't be removed");
    }
}
