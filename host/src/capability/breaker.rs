//! `wabbit:circuit/breaker`: the handler says that what it depends on is away. It reaches nothing,
//! so that it needs no grant.

use super::Guest;
use crate::wit::v0_1::import::wabbit::circuit::breaker;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

impl breaker::Host for Guest {
    fn open(&mut self, reason: String) -> Result<()> {
        self.unavailable = Some(reason);
        Ok(())
    }
}

/// Links it.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    breaker::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}
