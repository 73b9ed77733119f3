//! `wasi:config/store`: the variables that the plugin's grants name.

use super::Guest;
use super::grants::Variable;
use crate::wit::v0_1::import::wasi::config::store;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

impl store::Host for Guest {
    fn get(&mut self, key: String) -> Result<Result<Option<String>, store::Error>> {
        Ok(Ok(self.grants.variables.get(&key).and_then(text)))
    }

    fn get_all(&mut self) -> Result<Result<Vec<(String, String)>, store::Error>> {
        let variables = self.grants.variables.iter();
        Ok(Ok(variables.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()))
    }
}

fn text(variable: &Variable) -> Option<String> {
    match variable {
        Variable::Text(text) => Some(text.clone()),
        Variable::Secret(_) => None,
    }
}

/// Links it.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    store::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}
