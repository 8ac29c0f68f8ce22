//! Changes of jobs that wait.

use super::answer::number;
use super::record::{name, nonsense};
use super::script::AMEND;
use super::store::Store;
use crate::broker::{Amended, Amendment, BrokerError};

impl Store {
    pub(super) fn amend_one(&self, amendment: &Amendment) -> Result<Amended, BrokerError> {
        let mut call = self.script(&AMEND, &amendment.queue);
        call.arg(name(amendment.uuid));
        for (priority, header) in [&amendment.before, &amendment.after] {
            call.number((*priority).into()).arg(header);
        }
        // What is so already is left so: it may be asked for twice.
        let mut answers = self.lines.run_again(&[call])?;
        match number(&answers.pop().unwrap_or_default()) {
            Ok(0) => Ok(Amended::Unknown),
            Ok(1) => Ok(Amended::Done),
            Ok(2) => Ok(Amended::NotWaiting),
            Ok(3) => Ok(Amended::Changed),
            _ => Err(self.say(&nonsense())),
        }
    }
}
