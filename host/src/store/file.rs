//! Files of embedded stores.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Opens the file `path` for reading and writing. What is not there yet is made, and private to the
/// user of this process: the folders above it (0700) and the file, empty (0600). What is there keeps
/// its mode.
///
/// # Errors
/// As the system says.
pub fn private_file(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    // A new file is there after a power failure, too.
    File::open(folder)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_made_is_private_and_what_is_there_is_left_as_it_is() {
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        let dir = tempfile::tempdir().unwrap();
        let before = mode(dir.path());
        let path = dir.path().join("a/b/store");
        private_file(&path).unwrap();
        let modes = [dir.path(), &dir.path().join("a"), &dir.path().join("a/b"), &path].map(mode);
        assert_eq!(modes, [before, 0o700, 0o700, 0o600]);

        std::fs::write(&path, "kept").unwrap();
        private_file(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
    }
}
