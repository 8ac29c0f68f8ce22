//! The scripts: one for each move, named by the digest of its text, so that two releases can run
//! side by side.

use std::sync::{LazyLock, OnceLock};

use super::{evidence, needed};

/// One script.
#[derive(Debug)]
pub(super) struct Script {
    /// Its text.
    pub(super) source: LazyLock<String>,
    digest: OnceLock<String>,
}

impl Script {
    const fn new(source: fn() -> String) -> Self {
        Self {
            source: LazyLock::new(source),
            digest: OnceLock::new(),
        }
    }

    /// What the server knows it by once it has seen it.
    pub(super) fn digest(&self) -> &str {
        self.digest
            .get_or_init(|| redis::Script::new(&self.source).get_hash().into())
    }
}

macro_rules! scripts {
    ($($name:ident = $($file:literal)*;)*) => {
        $(pub(super) static $name: Script = Script::new(|| evidence::of(needed::of(concat!(
            include_str!("scripts/begin.lua"),
            $(include_str!(concat!("scripts/", $file, ".lua"))),*
        ))));)*

        /// All of them as they were written, with their names.
        #[cfg(test)]
        pub(super) fn texts() -> Vec<(&'static str, &'static str)> {
            vec![$((stringify!($name), concat!(
                include_str!("scripts/begin.lua"),
                $(include_str!(concat!("scripts/", $file, ".lua"))),*
            ))),*]
        }
    };
}

scripts! {
    SUBMIT = "unique" "number" "store" "submit" "store_all";
    CLAIM = "lease" "claim";
    SETTLE = "number" "store" "errands" "settle";
    RENEW = "renew";
    NOTE = "note";
    RECORD = "record";
    RECALL = "recall";
    TAKE = "take";
    SIGNAL = "signal";
    OVERDUE = "overdue";
    TAKE_OVER = "lease" "take_over";
    REVOKE = "number" "store" "errands" "revoke";
    AMEND = "amend";
    REMOVE = "number" "store" "errands" "remove";
    DELIVER = "number" "store" "errands" "deliver";
    OPEN = "number" "store" "errands" "open";
    DELIVERED = "delivered";
    UNDELIVERED = "undelivered";
    CLOSE = "number" "store" "errands" "close";
    COMPLETE = "complete";
    GROUPS = "groups";
    REVIVE = "revive";
    DROP_DEAD = "drop_dead";
    PRUNE = "unique" "prune";
    GATE = "gate";
    CLEAR = "clear";
    MEND = "mend";
    ADRIFT = "adrift";
    READ = "read";
    RESULT = "result";
    COUNTS = "counts";
    LIST = "list";
    ANNOUNCE = "cap" "announce";
    LEAVE = "leave";
    FLEET = "fleet";
    HELD = "held";
    LINE_UP = "line_up";
    SEND_OFF = "send_off";
    RECEIVE = "unique" "number" "receive";
    FORGET_SENT = "forget_sent";
    ADMIT = "admit";
    SCHEDULE_INDEX = "schedule_index";
    SCHEDULE_PUT = "schedule" "schedule_put";
    SCHEDULE_FORGET = "schedule" "schedule_forget";
    SCHEDULE_DUE = "schedule" "schedule_due";
    SCHEDULE_FIRE = "unique" "number" "store" "schedule" "schedule_fire" "store_all";
    LOCK = "lock";
    LIMIT = "cap" "limit";
    CHECKPOINT = "checkpoint";
    STREAM_DECLARE = "stream" "stream_declare";
    STREAM_SEND = "stream" "stream_send";
    STREAM_ATTEND = "stream" "stream_attend";
    STREAM_TAKE = "stream" "stream_take";
    STREAM_YIELD = "stream" "stream_yield";
    STREAM_STEP = "stream" "stream_step";
    STREAM_READ = "stream_read";
    STREAM_OPERATE = "stream" "stream_operate";
    STREAM_VIEW = "stream" "stream_view";
    STREAM_CLEAR = "stream" "stream_clear";
}
