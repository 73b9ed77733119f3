//! What lies in the plugins folder, by name and by the metadata that change when a file does.
//! Next: `read`, which reads the files.

use crate::telemetry::text::printable;
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Room for the 255 bytes of a file name when each of them is shown as an escape.
const FILE_NAME_BYTES_MAX: usize = 2048;

/// The plugins of a folder, by name.
pub(super) type Listing = BTreeMap<String, Pair>;

/// The two files of a plugin.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Pair {
    /// `NAME.wasm`
    pub component: Option<Entry>,
    /// `NAME.toml`
    pub manifest: Option<Entry>,
}

/// A file as its folder knows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Its path, in the folder.
    pub path: PathBuf,
    /// What it is.
    pub seen: Seen,
}

/// What is known of a file without reading it. Links are followed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Seen {
    /// A regular file.
    File(Stamp),
    /// A directory, a device or the like.
    NotAFile,
    /// E.g. a link to nowhere.
    Unreadable(io::ErrorKind),
}

/// Changes whenever the content of a path may have changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stamp {
    dev: u64,
    inode: u64,
    /// In bytes.
    pub size: u64,
    modified: Option<SystemTime>,
    // Also moves with the permissions: a file that could not be read may be readable now.
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of what these metadata belong to.
    pub fn of(metadata: &fs::Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Entry {
    /// The file's name, printable.
    pub fn file(&self) -> String {
        file_name(&self.path)
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    printable(&name, FILE_NAME_BYTES_MAX).into_owned()
}

/// Lists the plugins in `dir` itself. Hidden and temporary files are left out.
pub(super) fn list(dir: &Path) -> io::Result<Listing> {
    let mut listing = Listing::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some((name, role)) = classify(&file_name(&path)) else {
            continue;
        };
        let pair = listing.entry(name).or_default();
        let seen = look(&path);
        match role {
            Role::Component => pair.component = Some(Entry { path, seen }),
            Role::Manifest => pair.manifest = Some(Entry { path, seen }),
        }
    }
    Ok(listing)
}

/// A plugin's name: `[A-Za-z0-9][A-Za-z0-9._-]*`.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Which file of which plugin this file name is. Editors and copying tools write beside the file
/// first (`.x.wasm.Ab3`, `x.wasm.tmp`, `x.wasm~`, `x.part`): none of these ends in the suffixes here.
pub(super) fn classify(file: &str) -> Option<(String, Role)> {
    let (name, suffix) = file.rsplit_once('.')?;
    let role = match suffix {
        "wasm" => Role::Component,
        "toml" => Role::Manifest,
        _ => return None,
    };
    (!name.is_empty() && !name.starts_with('.')).then(|| (name.to_owned(), role))
}

/// See [`classify`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Role {
    Component,
    Manifest,
}

fn look(path: &Path) -> Seen {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Seen::File(Stamp::of(&metadata)),
        Ok(_) => Seen::NotAFile,
        Err(error) => Seen::Unreadable(error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plugins_and_their_manifests_are_seen() {
        let table = [
            ("orders.wasm", Some(("orders", Role::Component))),
            ("orders.toml", Some(("orders", Role::Manifest))),
            ("orders.v2.wasm", Some(("orders.v2", Role::Component))),
            ("my orders.wasm", Some(("my orders", Role::Component))),
            (".orders.wasm", None),
            (".wasm", None),
            ("..data", None),
            ("..wasm", None),
            ("orders.wasm.tmp", None),
            ("orders.wasm~", None),
            (".orders.wasm.swp", None),
            ("orders.part", None),
            ("orders", None),
            ("README.md", None),
        ];
        for (file, expected) in table {
            let expected = expected.map(|(name, role)| (name.to_owned(), role));
            assert_eq!(classify(file), expected, "{file}");
        }
    }

    #[test]
    fn names_are_letters_digits_and_three_signs() {
        let good = ["a", "9", "orders", "Orders-2", "a.b_c-d"];
        let bad = ["", "-a", "_a", ".a", "a b", "a/b", "é", "a\u{1b}"];
        assert!(good.into_iter().all(is_name));
        assert!(!bad.into_iter().any(is_name));
    }
}
