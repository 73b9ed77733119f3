//! Reads a plugin's files, and tells a whole file from one that is still being written.
//! Next: `wake`, which tells when to look.

use super::{
    Component, Digest, Files, Found, MANIFEST_BYTES_MAX, Manifest, WatchError,
    listing::{Entry, Pair, Seen, Stamp, is_name, list},
};
use std::{fs, io, io::Read as _, path::Path};

/// Why reading a plugin did not come to its files.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// A file changed meanwhile.
    Moved,
    /// Not usable as it is, but it may be that somebody has yet to finish.
    Unfinished(WatchError),
    /// Not usable.
    Wrong(WatchError),
}

/// The plugins of a folder, by name, without watching it; manifests without a component included.
///
/// # Errors
/// If the folder cannot be listed.
pub fn scan_once(dir: &Path, component_bytes_max: u64) -> io::Result<Vec<(String, Found)>> {
    let found = list(dir)?.into_iter().map(|(name, pair)| {
        let found = read_now(&name, &pair, component_bytes_max);
        (name, found)
    });
    Ok(found.collect())
}

/// The name and the files of the plugin whose component is at `path`, without watching it.
pub fn read_one(path: &Path, component_bytes_max: u64) -> (String, Found) {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let dir = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let found = match list(dir) {
        Ok(listing) if path.extension().is_some_and(|it| it == "wasm") => {
            read_now(&name, &listing.get(&name).cloned().unwrap_or_default(), component_bytes_max)
        }
        Ok(_) => Err(unreadable(path, "its name must end with `.wasm`")),
        Err(error) => Err(unreadable(path, &error.to_string())),
    };
    let found = found.map_err(|error| match error {
        WatchError::NoComponent { .. } => unreadable(path, "there is no such file"),
        error => error,
    });
    (name, found)
}

fn unreadable(path: &Path, cause: &str) -> WatchError {
    WatchError::Unreadable { file: path.display().to_string(), cause: cause.to_owned() }
}

fn read_now(name: &str, pair: &Pair, component_bytes_max: u64) -> Found {
    read(name, pair, component_bytes_max).map_err(|obstacle| match obstacle {
        Obstacle::Wrong(error) | Obstacle::Unfinished(error) => error,
        Obstacle::Moved => WatchError::Unreadable {
            file: format!("{name}.wasm"),
            cause: "it is being written".into(),
        },
    })
}

/// Reads the files that `pair` names, if they still are what it says. Blocks.
pub(super) fn read(name: &str, pair: &Pair, component_bytes_max: u64) -> Result<Files, Obstacle> {
    let Some(component) = &pair.component else {
        return Err(Obstacle::Wrong(WatchError::NoComponent { name: name.to_owned() }));
    };
    if !is_name(name) {
        return Err(Obstacle::Wrong(WatchError::Name { file: component.file() }));
    }
    let manifest = pair.manifest.as_ref().map(read_manifest).transpose()?;
    let component = read_component(component, component_bytes_max)?;
    Ok(Files { component, manifest })
}

fn read_component(entry: &Entry, bytes_max: u64) -> Result<Component, Obstacle> {
    let bytes = read_bytes(entry, bytes_max)?;
    let file = || entry.file();
    match extent(&bytes) {
        Extent::Empty => Err(Obstacle::Unfinished(WatchError::Empty { file: file() })),
        Extent::Incomplete => Err(Obstacle::Unfinished(WatchError::Incomplete {
            file: file(),
            bytes: bytes.len() as u64,
        })),
        Extent::Whole => {
            Ok(Component { path: entry.path.clone(), digest: Digest::of(&bytes), bytes })
        }
    }
}

fn read_manifest(entry: &Entry) -> Result<Manifest, Obstacle> {
    let bytes = read_bytes(entry, MANIFEST_BYTES_MAX)?;
    let digest = Digest::of(&bytes);
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Manifest { path: entry.path.clone(), digest, text }),
        // A sequence that is cut off is what a slow write looks like.
        Err(error) => Err(Obstacle::Unfinished(WatchError::NotText {
            file: entry.file(),
            at: error.utf8_error().valid_up_to(),
        })),
    }
}

fn read_bytes(entry: &Entry, bytes_max: u64) -> Result<Vec<u8>, Obstacle> {
    let unreadable = |cause: io::Error| {
        let cause = cause.to_string();
        Obstacle::Unfinished(WatchError::Unreadable { file: entry.file(), cause })
    };
    let stamp = match entry.seen {
        Seen::File(stamp) => stamp,
        Seen::NotAFile => {
            return Err(Obstacle::Wrong(WatchError::NotAFile { file: entry.file() }));
        }
        Seen::Unreadable(kind) => return Err(unreadable(kind.into())),
    };
    if stamp.size > bytes_max {
        let (file, bytes) = (entry.file(), stamp.size);
        return Err(Obstacle::Wrong(WatchError::TooLarge { file, bytes, limit: bytes_max }));
    }
    let file = fs::File::open(&entry.path).map_err(unreadable)?;
    let mut bytes = Vec::with_capacity(usize::try_from(stamp.size).unwrap_or_default());
    // One byte more than there should be, so that a file that grows does not fill the memory.
    (&file).take(stamp.size + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let now = file.metadata().map_err(unreadable)?;
    if Stamp::of(&now) == stamp && bytes.len() as u64 == stamp.size {
        Ok(bytes)
    } else {
        Err(Obstacle::Moved)
    }
}

/// How far a file goes.
#[derive(Debug, PartialEq)]
enum Extent {
    Empty,
    /// It ends within the header or within a section.
    Incomplete,
    /// It ends with a section, or it is no WebAssembly, which is for the loader to say.
    Whole,
}

const MAGIC: &[u8] = b"\0asm";
const HEADER_BYTES: usize = 8;

/// Follows the sections of a WebAssembly file: a header of 8 bytes, then for each section its id
/// (1 byte), its size (LEB128) and its content.
fn extent(bytes: &[u8]) -> Extent {
    if bytes.is_empty() {
        return Extent::Empty;
    }
    let start = bytes.len().min(MAGIC.len());
    if bytes[..start] != MAGIC[..start] {
        return Extent::Whole;
    }
    let Some(mut rest) = bytes.get(HEADER_BYTES..) else {
        return Extent::Incomplete;
    };
    while let Some((_id, section)) = rest.split_first() {
        let Some((size, content)) = leb128_u32(section) else {
            return Extent::Incomplete;
        };
        let Some(next) = content.get(size as usize..) else {
            return Extent::Incomplete;
        };
        rest = next;
    }
    Extent::Whole
}

/// Splits off an unsigned number of at most 32 bits. A longer one counts as the largest.
fn leb128_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let length = bytes.iter().take(5).position(|byte| byte & 0x80 == 0);
    let Some(last) = length else {
        return (bytes.len() >= 5).then(|| (u32::MAX, &bytes[5..]));
    };
    let number = bytes[..=last].iter().rev().fold(0u64, |n, byte| n << 7 | u64::from(byte & 0x7f));
    Some((u32::try_from(number).unwrap_or(u32::MAX), &bytes[last + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_when_its_last_section_is() {
        let header = b"\0asm\x0d\0\x01\0";
        let with = |rest: &[u8]| [header, rest].concat();
        let table = [
            (vec![], Extent::Empty),
            (b"\0".to_vec(), Extent::Incomplete),
            (b"\0asm\x0d".to_vec(), Extent::Incomplete),
            (header.to_vec(), Extent::Whole),
            (with(&[0]), Extent::Incomplete),
            (with(&[0, 3, 1, 2]), Extent::Incomplete),
            (with(&[0, 3, 1, 2, 3]), Extent::Whole),
            (with(&[0, 3, 1, 2, 3, 1]), Extent::Incomplete),
            (with(&[0, 0x80]), Extent::Incomplete),
            (with(&[&[0, 0x80, 1][..], &[7; 127]].concat()), Extent::Incomplete),
            (with(&[&[0, 0x80, 1][..], &[7; 128]].concat()), Extent::Whole),
            (with(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Extent::Incomplete),
            (b"MZ garbage".to_vec(), Extent::Whole),
            (b"(module)".to_vec(), Extent::Whole),
        ];
        for (bytes, expected) in table {
            assert_eq!(extent(&bytes), expected, "{bytes:02x?}");
        }
    }
}
