//! What must have happened in a batch of schedules, so that no invariant holds for want of trial.
//! Next: [`super::world`], which notes what happens.

macro_rules! seen {
    ($($name:ident),* $(,)?) => {
        /// Things that are to happen now and then.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Seen {
            $($name),*
        }

        /// All of them, in order.
        pub(super) const ALL: &[Seen] = &[$(Seen::$name),*];
    };
}

seen! {
    LostBeforeCall,
    LostWhilePublishing,
    LostWhileMoving,
    LostWhileCalled,
    BegunStale,
    BegunWithoutLane,
    AckLost,
    WaitingPurged,
    DownMissed,
    TakenUnconfirmed,
    PublicationRefused,
    MoveTooLarge,
    EffectTwice,
    AttemptsUsedUp,
    DroppedByHandler,
    Unmatched,
    CircuitOpened,
    CircuitClosed,
    ProbeFailed,
    ProbeSaysNothing,
    FailureSheltered,
    PausedGivesBack,
    PausedHolds,
    ProbeWithOneConsumed,
    OldVersionFails,
    RetryInPlace,
    AttemptRemembered,
    RetryInDelayQueue,
    RetryByQueue,
    SameKeyWaits,
    ReloadGivesBack,
    LaneComesBackBusy,
    AgainWithoutLane,
    ConcurrencyShrinks,
    OrderChanges,
    StopWithBehind,
    StopWhilePaused,
    AgainWhileStopping,
    KilledInFlight,
    AckedFirstAndLost,
    Crash,
    CrashInFlight,
    CrashBeforeCommit,
    CrashAfterCommit,
    CommitBegunWhenLost,
    LostBeforeCommit,
    RecalledNothingLeft,
    RecalledWithLeft,
    StoreAway,
    CommitUnknown,
    CommitFails,
    CalledAnew,
    SameEventInTheWay,
    ForgetMissed,
    RefusedAfterCommit,
}

/// How many kinds there are.
pub(super) const KINDS: usize = ALL.len();

/// What happened in one schedule.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Cover(u64);

impl Cover {
    pub(super) fn note(&mut self, seen: Seen) {
        self.0 |= 1 << seen as u8;
    }

    pub(super) fn add_to(self, counts: &mut [u64; KINDS]) {
        for (at, count) in counts.iter_mut().enumerate() {
            *count += self.0 >> at & 1;
        }
    }
}
