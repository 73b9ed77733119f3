//! The watcher over real folders. Each test waits for what it expects; a writer's pauses are what
//! is tested, not what is waited for.

use super::*;
use std::{fs, io::Write as _, os::unix::fs::symlink, path::Path, thread, time::Duration};
use tempfile::TempDir;

const LIMIT: u64 = 1024 * 1024;
const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// A component as far as its sections go: one custom section with this content.
fn component(content: &str) -> Vec<u8> {
    assert!(content.len() < 128, "one byte of LEB128");
    [HEADER, &[0, content.len() as u8], content.as_bytes()].concat()
}

struct Watched {
    dir: TempDir,
    folder: Folder,
    changes: std::collections::VecDeque<Change>,
}

impl Watched {
    /// A folder with `orders.wasm`, watched, and that plugin told of.
    async fn with_orders(mode: WatchMode) -> Self {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("orders.wasm"), component("one")).unwrap();
        let mut watched = Self::over(dir, mode);
        watched.expect("added orders one").await;
        watched
    }

    fn over(dir: TempDir, mode: WatchMode) -> Self {
        let folder = Folder::new(&dir.path().join("."), mode, LIMIT).unwrap();
        Self { dir, folder, changes: Default::default() }
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(file), bytes).unwrap();
    }

    /// The next change is this one.
    async fn expect(&mut self, expected: &str) {
        assert_eq!(self.next().await, expected);
    }

    async fn next(&mut self) -> String {
        while self.changes.is_empty() {
            let changed = tokio::time::timeout(Duration::from_secs(20), self.folder.changed());
            self.changes.extend(changed.await.expect("no change came"));
        }
        show(&self.changes.pop_front().unwrap())
    }
}

fn show(change: &Change) -> String {
    let (verb, found) = match &change.kind {
        Kind::Added(found) => ("added", found),
        Kind::Changed(found) => ("changed", found),
        Kind::Removed => return format!("removed {}", change.name),
    };
    match found {
        Ok(files) => {
            let content = &files.component.bytes[HEADER.len() + 2..];
            let mut text = format!("{verb} {} {}", change.name, String::from_utf8_lossy(content));
            if let Some(manifest) = &files.manifest {
                text += &format!(" with {}", manifest.text);
            }
            text
        }
        Err(error) => format!("{verb} {}: {error}", change.name),
    }
}

#[tokio::test]
async fn what_is_there_comes_first_and_an_empty_folder_is_an_answer() {
    for mode in [WatchMode::Auto, WatchMode::Poll, WatchMode::Off] {
        let empty = TempDir::new().unwrap();
        assert!(Watched::over(empty, mode).folder.changed().await.is_empty(), "{mode:?}");

        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("b.wasm"), component("two")).unwrap();
        fs::write(dir.path().join("a.wasm"), component("one")).unwrap();
        fs::write(dir.path().join("a.toml"), "x = 1").unwrap();
        fs::write(dir.path().join("README.md"), "not a plugin").unwrap();
        let first = Watched::over(dir, mode).folder.changed().await;
        let first: Vec<_> = first.iter().map(show).collect();
        assert_eq!(first, ["added a one with x = 1", "added b two"], "{mode:?}");
    }
}

#[tokio::test]
async fn plugins_are_added_changed_and_removed() {
    for mode in [WatchMode::Auto, WatchMode::Poll] {
        let mut watched = Watched::with_orders(mode).await;
        watched.write("mail.wasm", component("mail"));
        watched.expect("added mail mail").await;
        watched.write("orders.wasm", component("two"));
        watched.expect("changed orders two").await;
        watched.write(".orders.wasm.Xy", component("three"));
        fs::rename(watched.path(".orders.wasm.Xy"), watched.path("orders.wasm")).unwrap();
        watched.expect("changed orders three").await;
        fs::remove_file(watched.path("orders.wasm")).unwrap();
        watched.expect("removed orders").await;
        watched.write("orders.wasm", component("three"));
        watched.expect("added orders three").await;
        fs::rename(watched.path("mail.wasm"), watched.path("post.wasm")).unwrap();
        let mut both = [watched.next().await, watched.next().await];
        both.sort();
        assert_eq!(both, ["added post mail", "removed mail"]);
    }
}

#[tokio::test]
async fn a_manifest_that_comes_changes_or_goes_is_a_change() {
    let mut watched = Watched::with_orders(WatchMode::Auto).await;
    watched.write("orders.toml", "a = 1");
    watched.expect("changed orders one with a = 1").await;
    watched.write("orders.toml", "a = 2");
    watched.expect("changed orders one with a = 2").await;
    fs::remove_file(watched.path("orders.toml")).unwrap();
    watched.expect("changed orders one").await;
    watched.write("mail.toml", "early = true");
    watched.write("mail.wasm", component("mail"));
    watched.expect("added mail mail with early = true").await;
}

#[tokio::test]
async fn the_same_content_again_is_no_change() {
    let mut watched = Watched::with_orders(WatchMode::Auto).await;
    watched.write("orders.wasm", component("one"));
    watched.write("mail.wasm", component("mail"));
    watched.expect("added mail mail").await;
}

#[tokio::test]
async fn a_slow_write_is_taken_when_it_is_whole() {
    for mode in [WatchMode::Auto, WatchMode::Poll] {
        let mut watched = Watched::with_orders(mode).await;
        let path = watched.path("orders.wasm");
        let writer = thread::spawn(move || {
            let whole = component("written in small pieces");
            let mut file = fs::File::create(path).unwrap();
            for piece in whole.chunks(9) {
                file.write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(400));
            }
        });
        watched.expect("changed orders written in small pieces").await;
        writer.join().unwrap();
    }
}

#[tokio::test]
async fn a_pause_between_two_sections_or_lines_is_not_an_end() {
    let mut watched = Watched::with_orders(WatchMode::Auto).await;
    let (component_path, manifest_path) = (watched.path("mail.wasm"), watched.path("mail.toml"));
    let writer = thread::spawn(move || {
        let mut component = fs::File::create(component_path).unwrap();
        let mut manifest = fs::File::create(manifest_path).unwrap();
        component.write_all(&[HEADER, &[0, 1, b'a']].concat()).unwrap();
        manifest.write_all(b"a = 1").unwrap();
        thread::sleep(Duration::from_millis(300));
        component.write_all(&[0, 1, b'b']).unwrap();
        thread::sleep(Duration::from_millis(300));
        manifest.write_all(b"\nb = 2").unwrap();
    });
    watched.expect("added mail a\0\u{1}b with a = 1\nb = 2").await;
    writer.join().unwrap();
}

#[tokio::test]
async fn a_file_that_stays_open_is_taken_after_a_while() {
    let mut watched = Watched::with_orders(WatchMode::Auto).await;
    let mut file = fs::File::create(watched.path("orders.wasm")).unwrap();
    file.write_all(&component("two")).unwrap();
    watched.expect("changed orders two").await;
    drop(file);
}

#[tokio::test]
async fn links_are_followed_when_they_are_swapped() {
    let mut watched = Watched::with_orders(WatchMode::Auto).await;
    // As Kubernetes does it: the data in a hidden folder, `..data` a link to it that is replaced.
    for (folder, content) in [("..1", "first"), ("..2", "second")] {
        fs::create_dir(watched.path(folder)).unwrap();
        fs::write(watched.path(folder).join("map.wasm"), component(content)).unwrap();
        symlink(folder, watched.path("..data_tmp")).unwrap();
        fs::rename(watched.path("..data_tmp"), watched.path("..data")).unwrap();
        if content == "first" {
            symlink("..data/map.wasm", watched.path("map.wasm")).unwrap();
            watched.expect("added map first").await;
        }
    }
    watched.expect("changed map second").await;

    let elsewhere = TempDir::new().unwrap();
    let target = elsewhere.path().join("v3");
    fs::write(&target, component("third")).unwrap();
    symlink(&target, watched.path("map.new")).unwrap();
    fs::rename(watched.path("map.new"), watched.path("map.wasm")).unwrap();
    watched.expect("changed map third").await;
}

#[tokio::test]
async fn what_cannot_be_a_plugin_is_said_once_and_can_be_mended() {
    let mut watched = Watched::with_orders(WatchMode::Auto).await;
    watched.write("big.wasm", vec![0; LIMIT as usize + 1]);
    watched
        .expect("added big: `big.wasm` has 1048577 bytes, over the limit of 1048576 bytes")
        .await;
    watched.write("big.wasm", component("small"));
    watched.expect("changed big small").await;

    fs::create_dir(watched.path("dir.wasm")).unwrap();
    watched.expect("added dir: `dir.wasm` is not a file").await;

    watched.write("my \u{1b}orders.wasm", component("x"));
    let told = watched.next().await;
    assert!(
        told.starts_with("added my \\u{1b}orders: `my \\u{1b}orders.wasm` is not a "),
        "{told}"
    );

    // Not WebAssembly, but whole: the loader says what it is.
    watched.write("garbage.wasm", "(not (a component))");
    assert!(watched.next().await.starts_with("added garbage "));
}

#[tokio::test]
async fn a_file_that_is_never_finished_is_an_error_in_the_end() {
    let mut watched = Watched::with_orders(WatchMode::Auto).await;
    watched.write("orders.wasm", "");
    watched.write("half.wasm", &component("half")[..12]);
    watched.write("text.toml", b"a = '\xff'");
    watched.write("text.wasm", component("text"));
    watched.write("mail.wasm", component("mail"));
    // The others are not kept waiting.
    watched.expect("added mail mail").await;
    let mut rest = [watched.next().await, watched.next().await, watched.next().await];
    rest.sort();
    assert_eq!(
        rest,
        [
            "added half: `half.wasm` is incomplete: it ends in the middle of a section, after 12 bytes",
            "added text: `text.toml` is not UTF-8: byte 5 is wrong",
            "changed orders: `orders.wasm` is empty",
        ]
    );
    watched.write("orders.wasm", component("one"));
    watched.expect("changed orders one").await;
}

#[tokio::test]
async fn plugins_outlive_their_folder_and_the_next_one_is_watched() {
    for mode in [WatchMode::Auto, WatchMode::Poll] {
        let root = TempDir::new().unwrap();
        let dir = root.path().join("plugins");
        let root_path = root.path().to_owned();
        let mut watched = Watched {
            folder: Folder::new(&dir, mode, LIMIT).unwrap(),
            dir: root,
            changes: [].into(),
        };
        assert!(watched.folder.changed().await.is_empty(), "not there yet");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("a.wasm"), component("one")).unwrap();
        fs::write(dir.join("b.wasm"), component("one")).unwrap();
        watched.expect("added a one").await;
        watched.expect("added b one").await;

        let prepare = |content: &str| {
            let next = root_path.join("next");
            fs::create_dir(&next).unwrap();
            fs::write(next.join("a.wasm"), component(content)).unwrap();
            next
        };
        let next = prepare("two");
        fs::rename(&dir, watched.path("old")).unwrap();
        fs::rename(next, &dir).unwrap();
        let mut both = [watched.next().await, watched.next().await];
        both.sort();
        assert_eq!(both, ["changed a two", "removed b"]);

        let next = prepare("three");
        fs::remove_dir_all(&dir).unwrap();
        fs::rename(next, &dir).unwrap();
        watched.expect("changed a three").await;
        fs::write(dir.join("a.wasm"), component("four")).unwrap();
        watched.expect("changed a four").await;
    }
}

#[test]
fn a_folder_can_be_read_once() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    file("a.wasm", &component("one"));
    file("b.toml", b"");
    file("c.wasm", b"");
    let found = scan_once(dir.path(), LIMIT).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|(name, found)| match found {
            Ok(files) => format!("{name} {}", &files.component.digest.to_string()[..8]),
            Err(error) => format!("{name}: {error}"),
        })
        .collect();
    let digest = &Digest::of(&component("one")).to_string()[..8];
    let a = format!("a {digest}");
    assert_eq!(found, [&a, "b: `b.toml` has no `b.wasm` beside it", "c: `c.wasm` is empty"]);
    assert!(scan_once(Path::new("/nowhere/at/all"), LIMIT).is_err());
}

#[test]
fn digests_are_shown_in_hexadecimal() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Digest::of(b"").to_string(), empty);
}
