//! `wasi:config/store`: the variables that the plugin's grants name.

use super::Guest;
use crate::wit::v0_1::import::wasi::config::store;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

impl store::Host for Guest {
    fn get(&mut self, key: String) -> Result<Result<Option<String>, store::Error>> {
        Ok(Ok(self.means.given.variables.get(&key).map(|value| value.reveal().to_owned())))
    }

    fn get_all(&mut self) -> Result<Result<Vec<(String, String)>, store::Error>> {
        let variables = self.means.given.variables.iter();
        Ok(Ok(variables.map(|(name, value)| (name.clone(), value.reveal().to_owned())).collect()))
    }
}

/// Links it.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    store::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}
