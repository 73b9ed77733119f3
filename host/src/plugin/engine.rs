//! The one engine that all plugins share: how guests are compiled, where their memory comes from
//! and the clock that interrupts them. Next: `compile`, which uses it. The reasons behind the
//! numbers are in ARCHITECTURE.md ("The engine").

use std::num::NonZeroUsize;
use std::time::Duration;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Result,
    Strategy,
};

/// The tick of the clock that interrupts guests: the grain of `[limits] cpu`, and how long a guest
/// runs before other tasks of its thread get their turn.
pub const TICK: Duration = Duration::from_millis(5);

/// How deep a guest's stack may grow, in bytes.
const STACK_MAX: usize = 1 << 20;

/// What stays resident of each memory and table that goes back to the pool, in bytes.
const KEEP_RESIDENT: usize = 64 << 10;

/// How large the engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Instances of components alive at once, of all plugins together.
    pub instances: u32,
    /// The largest memory that any plugin may have, in bytes.
    pub memory: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self { instances: 1000, memory: 512 << 20 }
    }
}

/// Makes the engine and starts its clock, which ends with it.
///
/// # Errors
/// Settings that this machine does not have.
pub fn engine(limits: EngineLimits) -> Result<Engine> {
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    let engine = Engine::new(&config).or_else(|error| {
        // The pool reserves terabytes of address space, which some containers do not allow.
        tracing::info!(%error, "no room for the instance pool, allocating on demand");
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        Engine::new(&config)
    })?;
    let clock = engine.weak();
    std::thread::Builder::new().name("epoch".into()).spawn(move || {
        while let Some(engine) = clock.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    })?;
    Ok(engine)
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .epoch_interruption(true)
        // Some toolchains emit asynchronous built-ins even for handlers that are not.
        .concurrency_support(true)
        .max_wasm_stack(STACK_MAX)
        .async_stack_size(2 * STACK_MAX)
        .memory_init_cow(true)
        // The snapshots of interpreters keep their copy-on-write image.
        .memory_guaranteed_dense_image_size(64 << 20)
        .wasm_backtrace_max_frames(NonZeroUsize::new(32))
        .wasm_memory64(false);
    config
}

fn pool(limits: EngineLimits) -> PoolingAllocationConfig {
    let slots = limits.instances;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(8))
        .total_memories(slots.saturating_mul(2))
        .total_tables(slots.saturating_mul(4))
        .total_stacks(slots)
        .max_core_instances_per_component(64)
        .max_memories_per_component(8)
        .max_tables_per_component(64)
        .max_tables_per_module(4)
        .table_elements(100_000)
        .max_component_instance_size(10 << 20)
        .max_core_instance_size(10 << 20)
        .max_memory_size(limits.memory)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        // In batches, what guests had filled would stay until so many have ended.
        .decommit_batch_size(1)
        // wasmtime 48 skips dirty pages that are swapped out: the next guest could read them.
        .pagemap_scan(Enabled::No)
        .max_unused_warm_slots(64);
    pool
}
