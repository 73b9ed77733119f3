//! Stores in files, and what goes wrong with them.

use super::{away, read, write};
use wabbit::store::key_value::Embedded;

#[tokio::test]
async fn what_is_committed_is_there_when_the_file_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/store.redb");
    for n in 0..3 {
        let store = Embedded::new(&path);
        let before = (n > 0).then(|| (n - 1).to_string());
        assert_eq!(read(&store, "a").await, Ok(before));
        write(&store, &[("a", Some(&n.to_string()))]).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_is_for_one_host_and_free_when_that_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let first = Embedded::new(&path);
    write(&first, &[("a", Some("1"))]).await.unwrap();
    let second = Embedded::new(&path);
    for refused in [away(read(&second, "a").await), away(write(&second, &[("a", None)]).await)] {
        let expected = format!(
            "the store in `{}`: it is in use by another process, and a file is for one host at a time",
            path.display()
        );
        assert_eq!(refused, expected);
    }
    drop(first);
    assert_eq!(read(&second, "a").await, Ok(Some("1".to_owned())));
}

#[tokio::test]
async fn a_file_that_is_no_store_is_named_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mine = "not a database ".repeat(1000);
    std::fs::write(&path, &mine).unwrap();
    let refused = away(read(&Embedded::new(&path), "a").await);
    assert!(refused.contains(path.to_str().unwrap()), "{refused}");
    assert!(refused.contains("another program's file, or damaged"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), mine);
}

#[tokio::test]
async fn a_damaged_file_is_named_and_put_right_while_the_host_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = Embedded::new(&path);
    write(&store, &[("a", Some("1"))]).await.unwrap();
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    // After its first bytes, which tell what it is: the settings, the roots, the data.
    for damaged in [12..64, 64..320, 320..whole.len()] {
        let broken = dir.path().join(format!("broken {}.redb", damaged.start));
        let mut bytes = whole.clone();
        bytes[damaged.clone()].fill(0xff);
        std::fs::write(&broken, &bytes).unwrap();
        let store = Embedded::new(&broken);
        let refused = away(write(&store, &[("a", Some("2"))]).await);
        assert!(refused.contains("damaged"), "{damaged:?}: {refused}");
        std::fs::remove_file(&broken).unwrap();
        write(&store, &[("a", Some("2"))]).await.unwrap();
        assert_eq!(read(&store, "a").await, Ok(Some("2".to_owned())));
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    for path in [dir.path().join("file/store.redb"), dir.path().to_owned()] {
        let refused = away(read(&Embedded::new(&path), "a").await);
        assert!(refused.starts_with(&format!("the store in `{}`: ", path.display())), "{refused}");
    }
}
