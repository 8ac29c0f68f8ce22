//! Messages and groups one after the other.

use std::collections::{HashSet, VecDeque};

use uuid::Uuid;

use super::group::{BuiltGroup, Group};
use super::plan::{JobStep, Step, depth, each};
use super::{DEPTH_LIMIT, FlowError, check_uuids, read_plan, write_plan};
use crate::message::{Message, MessageBuilder};
use crate::name::TaskName;
use crate::time::Timestamp;

/// Messages and groups, one after the other. Tuples, arrays and vectors of them make one, also of
/// different kinds and within each other; what is within is laid flat.
///
/// ```
/// use bulkhead_shared::Message;
/// let one = |n: u32| Message::new("add_previous").arg(n);
/// let nested = Message::new("add").arg(1).arg(1).callback((one(1), one(2).callback(one(3))));
/// assert_eq!(nested.build().unwrap().descendants().unwrap().len(), 3);
/// ```
#[derive(Debug, Default)]
#[must_use = "a chain does nothing until it is submitted"]
pub struct Chain {
    pub(crate) steps: VecDeque<Step>,
    pub(crate) depth: usize,
    pub(crate) wrong: Option<FlowError>,
}

impl Chain {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what comes next.
    pub fn then(mut self, next: impl Into<Self>) -> Self {
        self.append(next.into());
        self
    }

    /// The same, unless a message in it is wrong.
    ///
    /// # Errors
    /// [`FlowError`] with its way out.
    pub fn checked(mut self) -> Result<Self, FlowError> {
        self.wrong.take().map_or(Ok(self), Err)
    }

    pub(crate) fn append(&mut self, mut next: Self) {
        self.wrong = self.wrong.take().or_else(|| next.wrong.take());
        self.depth = self.depth.max(next.depth);
        if self.steps.is_empty() {
            self.steps = next.steps;
        } else {
            self.steps.append(&mut next.steps);
        }
    }

    /// Its steps, if there are some and nothing is wrong.
    pub(crate) fn into_steps(self) -> Result<VecDeque<Step>, FlowError> {
        match self.wrong {
            Some(wrong) => Err(wrong),
            None if self.steps.is_empty() => Err(FlowError::EmptyChain),
            None => Ok(self.steps),
        }
    }

    fn wrong(wrong: FlowError) -> Self {
        Self {
            wrong: Some(wrong),
            ..Self::default()
        }
    }
}

/// What a chain comes to when it is built: the message, or the group, that it begins with.
#[derive(Debug, Clone)]
pub enum Flow {
    /// A message, and what follows it.
    Job(Box<Message>),
    /// A group, and what follows it.
    Group(BuiltGroup),
}

impl Flow {
    /// The id of the message or the group.
    #[must_use]
    pub const fn uuid(&self) -> Uuid {
        match self {
            Self::Job(message) => message.uuid,
            Self::Group(group) => group.uuid(),
        }
    }
}

impl Flow {
    /// The tasks of all its messages that name no queue.
    ///
    /// # Errors
    /// [`FlowError::Unreadable`].
    pub fn unsettled(&self) -> Result<Vec<TaskName>, FlowError> {
        let message = match self {
            Self::Job(message) => message,
            Self::Group(group) => return Ok(group.unsettled()),
        };
        let first = message.queue.is_none().then(|| message.task.clone());
        let mut tasks: Vec<TaskName> = first.into_iter().collect();
        each(
            &mut read_plan(message.header.then.as_deref())?,
            &mut |step| {
                if step.queue.is_none() {
                    tasks.push(step.task.clone());
                }
            },
        );
        Ok(tasks)
    }
}

impl From<Message> for Flow {
    fn from(message: Message) -> Self {
        Self::Job(Box::new(message))
    }
}

impl Chain {
    /// Checks everything.
    ///
    /// # Errors
    /// [`FlowError`] with its way out.
    pub fn build(self) -> Result<Flow, FlowError> {
        let mut steps = self.into_steps()?;
        match steps.pop_front() {
            Some(Step::Job(step)) => {
                let mut message = step.into_message(Timestamp::now());
                check_uuids(&steps, &mut HashSet::from([message.uuid]))?;
                message.header.then = write_plan(steps.iter())?;
                Ok(Flow::Job(Box::new(message)))
            }
            Some(Step::Group(mut group)) => {
                group.join.extend(steps);
                BuiltGroup::new(*group).map(Flow::Group)
            }
            None => Err(FlowError::EmptyChain),
        }
    }
}

impl From<MessageBuilder> for Chain {
    fn from(builder: MessageBuilder) -> Self {
        let (step, mut then) = builder.into_step();
        match step {
            Ok(step) => {
                then.steps.push_front(Step::Job(Box::new(step)));
                then
            }
            Err(error) => Self::wrong(error.into()),
        }
    }
}

impl From<Message> for Chain {
    fn from(message: Message) -> Self {
        match read_plan(message.header.then.as_deref()) {
            Ok(then) => {
                let depth = depth(&then);
                let mut steps = VecDeque::from(then);
                steps.push_front(Step::Job(Box::new(JobStep::from(message))));
                Self {
                    steps,
                    depth,
                    wrong: None,
                }
            }
            Err(error) => Self::wrong(error),
        }
    }
}

impl From<Group> for Chain {
    fn from(group: Group) -> Self {
        match group.into_step() {
            Ok((_, depth)) if depth > DEPTH_LIMIT => Self::wrong(FlowError::TooDeep),
            Ok((step, depth)) => Self {
                steps: VecDeque::from([Step::Group(Box::new(step))]),
                depth,
                wrong: None,
            },
            Err(error) => Self::wrong(error),
        }
    }
}

impl<T: Into<Self>> FromIterator<T> for Chain {
    fn from_iter<I: IntoIterator<Item = T>>(parts: I) -> Self {
        parts.into_iter().fold(Self::new(), Self::then)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Chain {
    fn from(parts: Vec<T>) -> Self {
        parts.into_iter().collect()
    }
}

impl<T: Into<Self>, const N: usize> From<[T; N]> for Chain {
    fn from(parts: [T; N]) -> Self {
        parts.into_iter().collect()
    }
}

macro_rules! tuples {
    ($(($($part:ident),+))*) => {
        $(impl<$($part: Into<Chain>),+> From<($($part,)+)> for Chain {
            #[allow(non_snake_case, reason = "named as its type")]
            fn from(($($part,)+): ($($part,)+)) -> Self {
                let mut chain = Self::new();
                $(chain.append($part.into());)+
                chain
            }
        })*
    };
}

tuples! { (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) }
