//! The event is a transaction: what it does in stores, and what it publishes, becomes visible together
//! or not at all, once. Begin with kit.rs, a host with a store of each kind; proof.rs ends it between
//! every two steps of its events, trouble.rs takes the store away, recognized.rs is about copies.

mod kit;
mod proof;
mod recognized;
mod trouble;
