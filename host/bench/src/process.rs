//! What Linux tells of a process under /proc.

use std::fs;

/// The unit of times in /proc: 100 per second, on every architecture of today.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of a process so far, user and system; 0 if it is gone.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before the last parenthesis may hold spaces.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    ticks(fields.split_ascii_whitespace().skip(11).take(2)) / TICKS_PER_SECOND
}

/// CPU seconds that the whole machine has been busy.
pub fn busy_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = || stat.split_ascii_whitespace().skip(1);
    // user, nice, system; idle and waiting; interrupts
    (ticks(fields().take(3)) + ticks(fields().skip(5).take(3))) / TICKS_PER_SECOND
}

/// The memory of a process that is resident, in KiB; 0 if it is gone.
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn ticks<'a>(fields: impl Iterator<Item = &'a str>) -> f64 {
    fields.filter_map(|field| field.parse::<f64>().ok()).sum()
}
