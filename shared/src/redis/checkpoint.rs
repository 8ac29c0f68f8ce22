//! Checkpoints. All of a namespace lie in one slot. Whether they survive a crash of the server is up
//! to its settings.

use redis::Value;

use super::answer::{bytes, number};
use super::call::Call;
use super::script::CHECKPOINT;
use super::store::Store;
use crate::broker::BrokerError;
use crate::checkpoint::{self, Checkpoints, Keep, Kept, MOST};
use crate::name::CheckpointName;

impl Checkpoints for Store {
    fn checkpoint(&self, name: &CheckpointName) -> Result<Option<Kept>, BrokerError> {
        let key = format!("{}checkpoints", self.common_tag());
        let call = Call::plain(&[b"HGET", key.as_bytes(), name.as_str().as_bytes()]);
        let mut answers = self.lines.run_again(&[call])?;
        match answers.swap_remove(0) {
            Value::Nil => Ok(None),
            found => {
                let found = bytes(found).map_err(|trouble| self.say(&trouble))?;
                let kept = parse(&found).ok_or_else(|| BrokerError::Damaged {
                    reason: format!("{} has no version", self.place_of(name)),
                    way_out:
                        "put back what was there, or remove it with `forget_checkpoint` to begin \
                              from nothing"
                            .into(),
                })?;
                Ok(Some(kept))
            }
        }
    }

    fn keep(&self, name: &CheckpointName, version: u64, body: &[u8]) -> Result<Keep, BrokerError> {
        checkpoint::check(name, body)?;
        let mut call = self.checkpoint_call(name);
        call.number(version)
            .arg(body)
            .number(u64::try_from(MOST).unwrap_or(u64::MAX));
        let answer = self.on_one(call)?;
        let answer = number(&answer).map_err(|trouble| self.say(&trouble))?;
        Ok(match u64::try_from(answer) {
            Err(_) => Keep::Full,
            Ok(0) => Keep::Stale,
            Ok(version) => Keep::Written { version },
        })
    }

    fn forget_checkpoint(&self, name: &CheckpointName) -> Result<bool, BrokerError> {
        let mut call = self.checkpoint_call(name);
        call.arg("-");
        let answer = self.on_one(call)?;
        Ok(number(&answer).map_err(|trouble| self.say(&trouble))? == 1)
    }

    fn place_of(&self, name: &CheckpointName) -> String {
        format!("checkpoint `{name}` in `{}`", self.lines.place)
    }
}

impl Store {
    fn checkpoint_call(&self, name: &CheckpointName) -> Call {
        let mut call = Call::script(&CHECKPOINT, &self.common_tag(), &self.clock());
        call.arg(name.as_str());
        call
    }
}

fn parse(found: &[u8]) -> Option<Kept> {
    let space = found.iter().position(|byte| *byte == b' ')?;
    let version = std::str::from_utf8(&found[..space]).ok()?.parse().ok()?;
    let body = found[space + 1..].to_vec();
    (version > 0).then_some(Kept { version, body })
}
