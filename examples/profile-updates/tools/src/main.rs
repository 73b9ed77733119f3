//! What wit-bindgen and wasm-tools would do for Go and C, as one small program:
//!   tools bind c|go OUTDIR WORLD WIT…      writes the bindings of a world
//!   tools new CORE.wasm OUT.wasm WORLD WIT…  makes a component of a module that Go has built
//! The WITs come in the order in which they build on each other.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use wasi_preview1_component_adapter_provider as wasi;
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["bind", language, out, world, ref wit @ ..] => bind(language, Path::new(out), world, wit),
        ["new", core, out, world, ref wit @ ..] => component(core, out, world, wit),
        _ => bail!("usage: tools bind c|go OUTDIR WORLD WIT… | new CORE OUT WORLD WIT…"),
    }
}

fn load(world: &str, wit: &[&str]) -> Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let mut packages = Vec::new();
    for path in wit {
        packages.push(resolve.push_path(path)?.0);
    }
    let world = resolve.select_world(&packages, Some(world))?;
    Ok((resolve, world))
}

fn bind(language: &str, out: &Path, world: &str, wit: &[&str]) -> Result<()> {
    let mut generator: Box<dyn WorldGenerator> = match language {
        "c" => wit_bindgen_c::Opts::default().build(),
        "go" => wit_bindgen_go::Opts::default().build(),
        _ => bail!("no bindings for `{language}`"),
    };
    let (mut resolve, world) = load(world, wit)?;
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    for (name, contents) in files.iter() {
        let path = out.join(name);
        fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
        fs::write(&path, contents).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn component(core: &str, out: &str, world: &str, wit: &[&str]) -> Result<()> {
    let mut module = fs::read(core).with_context(|| core.to_owned())?;
    // Go's module does not say which world it was built for, as C's does.
    let (resolve, world) = load(world, wit)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    let adapter = wasi::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .adapter(wasi::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter)?
        .encode()?;
    fs::write(out, component).with_context(|| out.to_owned())
}
