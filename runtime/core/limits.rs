//! Every limit that has a number, with its unit and its reason.

/// How long an alarm handler may take. The platform's number.
pub const ALARM_WALL_MS_MAX: u64 = 15 * 60 * 1000;
/// How long `waitUntil` keeps a request after its answer, unless the configuration says otherwise. The platform's number.
pub const WAIT_UNTIL_MS: u64 = 30_000;
/// How long one run of a cron trigger may take. The platform's number.
pub const CRON_WALL_MS_MAX: u64 = 15 * 60 * 1000;

/// What tails are told of one event, in bytes of JSON: the rest of its log is left out, as on the platform.
pub const TRACE_BYTES_MAX: usize = 256 << 10;

/// Log lines and exceptions of one event that tails are told of.
pub const TRACE_LINES_MAX: usize = 1024;

/// Tails of one loaded worker.
pub const TAILS_MAX: u32 = 16;
/// Longest facet name, in UTF-8 bytes. The platform's number.
pub const FACET_NAME_BYTES_MAX: usize = 256;
/// Root object plus three levels of facets. The platform's number.
pub const FACET_DEPTH_MAX: u8 = 4;
/// Object names above this address the object but are not told to it. The platform's number.
pub const OBJECT_NAME_BYTES_MAX: usize = 1024;
/// Arguments or results of one RPC call. The platform's number.
pub const RPC_BYTES_MAX: usize = 32 << 20;
/// All modules of one loaded worker. The platform's number.
pub const CODE_BYTES_MAX: usize = 64 << 20;
/// The serialised `env` of one loaded worker. The platform's number.
pub const ENV_BYTES_MAX: usize = 1 << 20;

/// One WebSocket message, either way. The platform's number; larger ones end the connection with 1009.
pub const SOCKET_MESSAGE_BYTES_MAX: usize = 32 << 20;
/// What was sent through one WebSocket and not received. A single message may be larger.
pub const SOCKET_QUEUE_BYTES_MAX: usize = 16 << 20;
/// All that one isolate has sent (arguments, bodies, WebSocket messages) and nobody has received. Eight of the largest
/// RPC messages.
pub const SEND_BYTES_MAX: usize = 256 << 20;

/// Events that one loaded worker has sent, to whomever, and that wait to be delivered. More than a program sends in one turn
/// that means no harm, and a quarter of what may wait for one object.
pub const GUEST_EVENTS_MAX: u64 = 4096;

/// How much may wait for one receiver. The same for all workers of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxLimits {
    /// Events that wait for one object: for its start, its thread or its input gate. Loaded workers get half of them.
    pub len: usize,
    /// How long an event waits there.
    pub wait_ms: u64,
    /// Stateless events that are in one isolate and not over. Loaded workers get half of them.
    pub in_flight: usize,
}

impl Default for MailboxLimits {
    /// A queue of this length is worked off in seconds by an object that does little, and one that does more should be asked less.
    /// The time is twice what a critical section may take, so that one that hangs is what its callers hear of.
    fn default() -> Self {
        Self {
            len: 16_384,
            wait_ms: 60_000,
            in_flight: 16_384,
        }
    }
}

/// What one worker may use. `None` is no limit. The lower of two limits wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of one event, all its turns together.
    pub cpu_ms: Option<u64>,
    /// CPU time of the top level of the modules.
    pub startup_cpu_ms: Option<u64>,
    /// Outgoing fetches and stub calls of one event.
    pub sub_requests: Option<u64>,
    /// V8 heap of the isolate, and as much again for array buffers.
    pub memory_mb: Option<u64>,
    /// Wall time of one event.
    pub wall_ms: Option<u64>,
    /// Size of one database file.
    pub storage_mb: Option<u64>,
    /// Wall time of what a stateless event leaves to `waitUntil` after its answer.
    pub wait_until_ms: Option<u64>,
}

impl Limits {
    /// For the workers of a project: the user's own code.
    pub const STATIC: Limits = Limits {
        cpu_ms: Some(30_000),
        startup_cpu_ms: Some(10_000),
        sub_requests: None,
        memory_mb: Some(512),
        wall_ms: None,
        storage_mb: None,
        wait_until_ms: Some(WAIT_UNTIL_MS),
    };

    /// For loaded workers: code nobody vouches for.
    pub const DYNAMIC: Limits = Limits {
        cpu_ms: Some(5_000),
        startup_cpu_ms: Some(1_000),
        sub_requests: None,
        memory_mb: Some(128),
        wall_ms: None,
        storage_mb: Some(1024),
        wait_until_ms: Some(WAIT_UNTIL_MS),
    };

    /// The lower limit of each pair.
    #[must_use]
    pub fn lower(self, other: Limits) -> Limits {
        fn min(a: Option<u64>, b: Option<u64>) -> Option<u64> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        }
        Limits {
            cpu_ms: min(self.cpu_ms, other.cpu_ms),
            startup_cpu_ms: min(self.startup_cpu_ms, other.startup_cpu_ms),
            sub_requests: min(self.sub_requests, other.sub_requests),
            memory_mb: min(self.memory_mb, other.memory_mb),
            wall_ms: min(self.wall_ms, other.wall_ms),
            storage_mb: min(self.storage_mb, other.storage_mb),
            wait_until_ms: min(self.wait_until_ms, other.wait_until_ms),
        }
    }

    /// `self` where it says something, else `defaults`.
    #[must_use]
    pub fn or(self, defaults: Limits) -> Limits {
        Limits {
            cpu_ms: self.cpu_ms.or(defaults.cpu_ms),
            startup_cpu_ms: self.startup_cpu_ms.or(defaults.startup_cpu_ms),
            sub_requests: self.sub_requests.or(defaults.sub_requests),
            memory_mb: self.memory_mb.or(defaults.memory_mb),
            wall_ms: self.wall_ms.or(defaults.wall_ms),
            storage_mb: self.storage_mb.or(defaults.storage_mb),
            wait_until_ms: self.wait_until_ms.or(defaults.wait_until_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_two_limits_wins() {
        let a = Limits {
            cpu_ms: Some(10),
            sub_requests: Some(0),
            ..Limits::default()
        };
        let b = Limits {
            cpu_ms: Some(20),
            memory_mb: Some(64),
            ..Limits::default()
        };
        let both = a.lower(b);
        assert_eq!(both.cpu_ms, Some(10), "both say something");
        assert_eq!(both.sub_requests, Some(0), "zero is a limit");
        assert_eq!(both.memory_mb, Some(64), "one says something");
    }
}
