//! Watches the plugins folder and hands out whole files: `NAME.wasm` with `NAME.toml` beside it.
//! Next: `folder` (the task that watches), `ledger` (what is a change, and when), `listing` and
//! `read` (the files).
//!
//! Events of the operating system only wake the watcher up. What has changed is found by listing
//! the folder, so that lost events, network file systems and links that are swapped come out right.

mod folder;
mod ledger;
mod listing;
mod read;
#[cfg(test)]
mod tests;
mod wake;

pub use folder::Folder;
pub use read::{read_one, scan_once};

use sha2::{Digest as _, Sha256};
use std::{fmt, path::PathBuf};

/// The largest manifest that is read, in bytes. A manifest is written by hand.
pub const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;

/// How changes of the folder are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchMode {
    /// By the operating system's events, and by looking every ten seconds.
    #[default]
    Auto,
    /// By looking twice a second: for file systems that send no events.
    Poll,
    /// Not at all: the folder is read once.
    Off,
}

/// What happened to one plugin.
#[derive(Debug)]
pub struct Change {
    /// The file's name without `.wasm`; printable also where it is not a valid name.
    pub name: String,
    /// What it was.
    pub kind: Kind,
}

/// See [`Change`].
#[derive(Debug)]
pub enum Kind {
    /// The plugin was not there before.
    Added(Found),
    /// Its component or its manifest has other content than before, or an error came or went.
    Changed(Found),
    /// Its component is gone.
    Removed,
}

/// The files of a plugin, or why they cannot be used.
pub type Found = Result<Files, WatchError>;

/// A plugin as it lies in the folder, whole, but not looked into.
#[derive(Debug, PartialEq)]
pub struct Files {
    /// `NAME.wasm`.
    pub component: Component,
    /// `NAME.toml`, if there is one.
    pub manifest: Option<Manifest>,
}

/// The content of a `.wasm` file.
#[derive(Debug, PartialEq)]
pub struct Component {
    /// Where it was read.
    pub path: PathBuf,
    /// SHA-256 of `bytes`.
    pub digest: Digest,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// The content of a `.toml` file.
#[derive(Debug, PartialEq)]
pub struct Manifest {
    /// Where it was read.
    pub path: PathBuf,
    /// SHA-256 of `text`.
    pub digest: Digest,
    /// All of it.
    pub text: String,
}

/// Why the files of a plugin cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WatchError {
    /// The file's name is not a plugin's name.
    #[error(
        "`{file}` is not a plugin's name: it must begin with a letter or a digit, and go on with \
         letters, digits, `.`, `_` or `-`"
    )]
    Name {
        /// As it is in the folder.
        file: String,
    },
    /// A manifest with nothing to describe.
    #[error("`{name}.toml` has no `{name}.wasm` beside it")]
    NoComponent {
        /// The plugin's name.
        name: String,
    },
    /// A directory, a device or the like.
    #[error("`{file}` is not a file")]
    NotAFile {
        /// As it is in the folder.
        file: String,
    },
    /// Over the limit; it was not read.
    #[error("`{file}` has {bytes} bytes, over the limit of {limit} bytes")]
    TooLarge {
        /// As it is in the folder.
        file: String,
        /// Its size.
        bytes: u64,
        /// What is allowed.
        limit: u64,
    },
    /// No bytes at all, for a while.
    #[error("`{file}` is empty")]
    Empty {
        /// As it is in the folder.
        file: String,
    },
    /// It ends in the middle, and nobody has gone on writing.
    #[error("`{file}` is incomplete: it ends in the middle of a section, after {bytes} bytes")]
    Incomplete {
        /// As it is in the folder.
        file: String,
        /// How many there are.
        bytes: u64,
    },
    /// A manifest in another encoding.
    #[error("`{file}` is not UTF-8: byte {at} is wrong")]
    NotText {
        /// As it is in the folder.
        file: String,
        /// Counted from 0.
        at: usize,
    },
    /// The operating system said no.
    #[error("cannot read `{file}`: {cause}")]
    Unreadable {
        /// As it is in the folder.
        file: String,
        /// In its words.
        cause: String,
    },
}

impl WatchError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Name { .. } => Some("rename the file"),
            Self::NoComponent { .. } => Some("put the component beside it"),
            Self::TooLarge { .. } => Some("raise `[limits] component` in the host's configuration"),
            Self::Empty { .. } | Self::Incomplete { .. } => {
                Some("copy the file again from where it was built")
            }
            Self::NotAFile { .. } | Self::NotText { .. } | Self::Unreadable { .. } => None,
        }
    }
}

/// A SHA-256 digest. Shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
