//! What scripts about streams are told, and what they answer.

use bytes::Bytes;
use redis::Value;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::answer::{Items, bytes, count, list, number};
use super::super::call::Call;
use super::super::trouble;
use crate::broker::SupervisorId;
use crate::name::{StreamName, TaskName};
use crate::stream::keep::{
    DeadEvent, Hold, Kept, Overview, Pass, READ_BYTES, Rest, Seek, Sent, Share, Step, Taken,
    Trouble, View,
};
use crate::stream::sending::{NUMBER_MOST, POSITION};
use crate::stream::{Event, EventId, Fields, Full, Place, StreamSpec};
use crate::time::Timestamp;

type Told<T> = Result<T, trouble::Trouble>;

/// What of a trouble no script looks at.
#[derive(Debug, Serialize, Deserialize)]
struct Said {
    cause: String,
    error: String,
}

pub(super) fn nonsense(what: &str) -> trouble::Trouble {
    trouble::Trouble::Nonsense(format!("{what} makes no sense"))
}

/// A text that stands for something.
pub(super) fn parsed<T: std::str::FromStr>(value: Value, what: &str) -> Told<T> {
    let text = String::from_utf8(bytes(value)?).ok();
    let read = text.and_then(|text| text.parse().ok());
    read.ok_or_else(|| nonsense(what))
}

fn text(value: Value, what: &str) -> Told<String> {
    String::from_utf8(bytes(value)?).map_err(|_| nonsense(what))
}

pub(super) fn part(value: Value) -> Told<u16> {
    let part = u16::try_from(number(&value)?);
    part.map_err(|_| nonsense("the number of a partition"))
}

fn place(items: &mut Items) -> Told<Place> {
    Ok(Place {
        position: count(&items.next()?)?,
        id: EventId {
            ms: count(&items.next()?)?,
            seq: count(&items.next()?)?,
        },
    })
}

/// What became of records: three numbers each.
pub(super) fn sent(all: Vec<Value>, records: usize) -> Told<Vec<Sent>> {
    if all.len() != 3 * records {
        return Err(nonsense("the answer to records"));
    }
    let one = |three: &[Value]| -> Told<Sent> {
        let (kind, ms, seq) = (number(&three[0])?, count(&three[1])?, count(&three[2])?);
        let id = EventId { ms, seq };
        Ok(match u64::try_from(kind) {
            Err(_) => Sent::NotNewer { last: id },
            Ok(0) => Sent::Full,
            Ok(position) => Sent::Stored(Place { position, id }),
        })
    };
    all.chunks(3).map(one).collect()
}

/// Events as the server has them, not too much of them, and the size of the largest it has sent.
pub(super) fn events(
    answer: Value,
    what: &dyn Fn() -> String,
) -> Told<(Vec<Event>, Option<usize>)> {
    let (mut events, mut bytes, mut largest) = (Vec::new(), 0, None);
    for found in list(answer)? {
        let event = event(found, what)?;
        let size = event.fields.size();
        largest = largest.max(Some(size));
        bytes += size;
        if bytes > READ_BYTES && !events.is_empty() {
            break;
        }
        events.push(event);
    }
    Ok((events, largest))
}

fn event(found: Value, what: &dyn Fn() -> String) -> Told<Event> {
    let mut items = Items::of(found)?;
    let id = text(items.next()?, "the id of an event")?;
    let damaged = || nonsense(&format!("event {id} in {}", what()));
    let read = id.parse::<EventId>().map_err(|_| damaged())?;
    let mut words = list(items.next()?)?.into_iter();
    let mut fields = std::iter::from_fn(|| {
        let (name, value) = (words.next()?, words.next()?);
        let name = bytes(name).map(String::from_utf8);
        Some(name.and_then(|name| Ok((name.map_err(|_| damaged())?, bytes(value)?))))
    });
    // The position is the first of them.
    let position = fields.next().transpose()?;
    let position = position.filter(|(name, _)| name == POSITION);
    let position = position.and_then(|(_, value)| std::str::from_utf8(&value).ok()?.parse().ok());
    let position = position.ok_or_else(damaged)?;
    Ok(Event {
        place: Place { position, id: read },
        fields: fields.collect::<Told<_>>()?,
    })
}

/// A trouble, if there is one.
fn trouble(answer: Value) -> Told<Option<Trouble>> {
    let mut items = Items::of(answer)?;
    if items.len() == 0 {
        return Ok(None);
    }
    let what = "the trouble of a processor";
    let place = place(&mut items)?;
    let tries = u32::try_from(count(&items.next()?)?).map_err(|_| nonsense(what))?;
    let rest = match &*text(items.next()?, what)? {
        "-" => None,
        "h" => Some(Rest::Halted),
        "q" => Some(Rest::Quarantined),
        _ => return Err(nonsense(what)),
    };
    let at = Timestamp::from_millis(count(&items.next()?)?);
    let said = serde_json::from_slice(&bytes(items.next()?)?);
    let Said { cause, error } = said.map_err(|_| nonsense(what))?;
    Ok(Some(Trouble {
        place,
        tries,
        at,
        cause,
        error,
        rest,
    }))
}

fn moved_to(answer: Value) -> Told<Option<Seek>> {
    let what = "where a processor is to go on";
    let word = text(answer, what)?;
    Ok(match word.split_once(':') {
        None if word == "-" => None,
        None if word == "start" => Some(Seek::Start),
        None if word == "end" => Some(Seek::End),
        Some(("id", id)) => Some(Seek::Id(id.parse().map_err(|_| nonsense(what))?)),
        Some(("skip", count)) => Some(Seek::Skip(count.parse().map_err(|_| nonsense(what))?)),
        _ => return Err(nonsense(what)),
    })
}

fn member(answer: Value) -> Told<Option<SupervisorId>> {
    let name = text(answer, "the name of a member")?;
    if name.is_empty() {
        return Ok(None);
    }
    let id = Uuid::try_parse(&name).map_err(|_| nonsense("the name of a member"))?;
    Ok(Some(SupervisorId(id)))
}

fn share(answer: Value, partition: u16) -> Told<Share> {
    let mut items = Items::of(answer)?;
    Ok(Share {
        partition,
        fence: count(&items.next()?)?,
        passed: place(&mut items)?,
        owner: member(items.next()?)?,
        moved_to: moved_to(items.next()?)?,
        last: place(&mut items)?,
        waiting_since: {
            let since = u64::try_from(number(&items.next()?)?).ok();
            since.map(Timestamp::from_millis)
        },
        dead: count(&items.next()?)?,
        trouble: trouble(items.next()?)?,
    })
}

/// A processor's name, and what there is to see of it.
pub(super) fn view(answer: Value) -> Told<(TaskName, View)> {
    let mut items = Items::of(answer)?;
    let name = text(items.next()?, "the name of a processor")?;
    let name = TaskName::new(&name).map_err(|_| nonsense("the name of a processor"))?;
    let why = list(items.next()?)?.into_iter().next();
    let members = list(items.next()?)?.into_iter();
    let members = members.map(|one| member(one)?.ok_or_else(|| nonsense("a member")));
    let shares = list(items.next()?)?.into_iter();
    let shares = (0..).zip(shares).map(|(part, one)| share(one, part));
    let view = View {
        members: members.collect::<Told<_>>()?,
        shares: shares.collect::<Told<_>>()?,
        paused: why.map(|why| text(why, "why it is paused")).transpose()?,
    };
    Ok((name, view))
}

/// A stream, if it is there.
pub(super) fn overview(answer: Value, name: StreamName) -> Told<Option<Overview>> {
    let mut items = Items::of(answer)?;
    if items.len() == 0 {
        return Ok(None);
    }
    let what = "what is known of a stream";
    let partitions = part(items.next()?)?;
    let size = count(&items.next()?)?;
    let full = Full::from_name(&text(items.next()?, what)?).ok_or_else(|| nonsense(what))?;
    let kept = list(items.next()?)?.into_iter().map(kept);
    let processors = list(items.next()?)?.into_iter().map(view);
    Ok(Some(Overview {
        spec: StreamSpec {
            name,
            partitions,
            size,
            full,
        },
        partitions: kept.collect::<Told<_>>()?,
        processors: processors.collect::<Told<_>>()?,
    }))
}

fn kept(answer: Value) -> Told<Kept> {
    let mut items = Items::of(answer)?;
    let (last, len) = (place(&mut items)?, count(&items.next()?)?);
    let first = place(&mut items)?;
    Ok(Kept {
        len,
        first: (first.position > 0).then_some(first),
        last,
    })
}

/// A partition that was taken.
pub(super) fn taken(answer: Value) -> Told<Taken> {
    let mut items = Items::of(answer)?;
    Ok(Taken {
        hold: Hold {
            partition: part(items.next()?)?,
            fence: count(&items.next()?)?,
        },
        passed: place(&mut items)?,
        trouble: trouble(items.next()?)?,
    })
}

/// Adds a step to those that a script is told.
pub(super) fn step(call: &mut Call, step: &Step) {
    call.number(step.hold.partition.into())
        .number(step.hold.fence);
    let nothing = |call: &mut Call| {
        call.number(0).arg("-").number(0).arg("");
    };
    match &step.pass {
        Pass::To(to) => {
            push_place(call.arg("t"), *to);
            nothing(call);
            call.number(0);
        }
        Pass::Failed(trouble) => {
            push_place(call.arg("f"), trouble.place);
            let rest = match trouble.rest {
                None => "-",
                Some(Rest::Halted) => "h",
                Some(Rest::Quarantined) => "q",
            };
            call.number(trouble.tries.into())
                .arg(rest)
                .number(trouble.at.min(Timestamp::MAX).as_millis())
                .arg(json(&Said {
                    cause: trouble.cause.clone(),
                    error: trouble.error.clone(),
                }))
                .number(0);
        }
        Pass::Buried {
            to,
            events,
            trouble,
        } => {
            push_place(call.arg("b"), *to);
            nothing(call);
            call.number(u64::try_from(events.len()).unwrap_or(u64::MAX));
            let trouble = json(trouble);
            for event in events {
                let Place { position, id } = event.place;
                let mut kept = format!("{position} {id} {}\n", trouble.len()).into_bytes();
                kept.extend_from_slice(trouble.as_bytes());
                kept.extend_from_slice(event.fields.packed());
                call.number(position.min(NUMBER_MOST)).arg(kept);
            }
        }
    }
}

fn push_place(call: &mut Call, place: Place) {
    call.number(place.position.min(NUMBER_MOST))
        .number(place.id.ms.min(NUMBER_MOST))
        .number(place.id.seq.min(NUMBER_MOST));
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers can always be written as JSON")
}

/// A dead letter.
pub(super) fn dead(kept: &[u8], partition: u16, what: &dyn Fn() -> String) -> Told<DeadEvent> {
    let read = || {
        let newline = kept.iter().position(|byte| *byte == b'\n')?;
        let (head, rest) = (&kept[..newline], &kept[newline + 1..]);
        let mut words = std::str::from_utf8(head).ok()?.split(' ');
        let position = words.next()?.parse().ok()?;
        let id = words.next()?.parse().ok()?;
        let (trouble, fields) = rest.split_at_checked(words.next()?.parse().ok()?)?;
        Some(DeadEvent {
            partition,
            event: Event {
                place: Place { position, id },
                fields: Fields::unpack(Bytes::copy_from_slice(fields))?,
            },
            trouble: serde_json::from_slice(trouble).ok()?,
        })
    };
    read().ok_or_else(|| nonsense(&format!("{} in partition {partition}", what())))
}
