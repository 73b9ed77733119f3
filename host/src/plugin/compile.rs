//! From a component's bytes to code, compiled once per digest and engine and kept in a private
//! folder. Compiled code is loaded from nowhere else. Next: `load`.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmtime::component::Component;
use wasmtime::{Engine, Result};

/// Compiles components, one at a time, off the data path.
#[derive(Clone)]
pub struct Compiler {
    engine: Engine,
    /// `None`: nothing is kept.
    cache: Option<PathBuf>,
    /// A compilation takes every core that it can get; a second would only make both slower.
    turn: Arc<Semaphore>,
}

impl Compiler {
    /// Compiles with `engine` and keeps the code in `cache`, which is made private to this user.
    /// Without a usable folder nothing is kept.
    pub fn new(engine: Engine, cache: Option<&Path>) -> Self {
        let cache = cache.and_then(|dir| match private_folder(dir) {
            Ok(()) => Some(dir.to_owned()),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "compiled code is not kept: the cache folder can't be used");
                None
            }
        });
        Self { engine, cache, turn: Arc::new(Semaphore::new(1)) }
    }

    /// The code for the component `bytes` with this `digest`.
    ///
    /// # Errors
    /// What the compiler says.
    pub async fn component(&self, bytes: Arc<[u8]>, digest: &str) -> Result<Component> {
        let Some(path) = self.cache.as_ref().map(|dir| dir.join(self.file_name(digest))) else {
            let _turn = self.turn.acquire().await;
            let engine = self.engine.clone();
            return tokio::task::spawn_blocking(move || Component::new(&engine, &bytes)).await?;
        };
        if let Some(component) = load(&self.engine, &path) {
            return Ok(component);
        }
        let _turn = self.turn.acquire().await;
        let engine = self.engine.clone();
        let compile = move || {
            keep(&path, &engine.precompile_component(&bytes)?);
            load(&engine, &path).map_or_else(|| Component::new(&engine, &bytes), Ok)
        };
        tokio::task::spawn_blocking(compile).await?
    }

    fn file_name(&self, digest: &str) -> String {
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        format!("{digest}-{:016x}.cwasm", hasher.finish())
    }
}

/// Makes the folder `dir`, if it is not there, and private to this user.
///
/// # Errors
/// It can't be made, or is another user's.
pub fn private_folder(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// What is kept at `path`, if it is there and whole.
fn load(engine: &Engine, path: &Path) -> Option<Component> {
    if !path.exists() {
        return None;
    }
    #[allow(unsafe_code, reason = "our own file: in a folder of mode 0700, moved into place whole")]
    let loaded = unsafe { Component::deserialize_file(engine, path) };
    loaded
        .inspect_err(|error| tracing::debug!(path = %path.display(), %error, "compiling again"))
        .ok()
}

/// Keeps compiled code, if it can: a full disk must not stop a plugin.
fn keep(path: &Path, code: &[u8]) {
    let part = path.with_extension(format!("{:016x}.part", fastrand::u64(..)));
    if let Err(error) = fs::write(&part, code).and_then(|()| fs::rename(&part, path)) {
        tracing::warn!(path = %path.display(), %error, "compiled code can't be kept");
    }
}
