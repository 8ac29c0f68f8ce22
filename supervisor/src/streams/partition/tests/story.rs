//! Whatever a call does, its partition loses nothing and changes no order.

use proptest::prelude::*;

use super::*;

/// What a call does next.
#[derive(Debug, Clone)]
enum Act {
    Ask(u32, bool),
    Pass(u8),
    /// A batch ends before its end.
    Part(u8),
    Return,
    Fail(u8),
    Say,
    Wait(u16),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..6_u32, any::<bool>()).prop_map(|(most, as_one)| Act::Ask(most, as_one)),
        8 => (1..4_u8).prop_map(Act::Pass),
        2 => (1..4_u8).prop_map(Act::Part),
        1 => Just(Act::Return),
        2 => (0..4_u8).prop_map(Act::Fail),
        4 => Just(Act::Say),
        3 => (1..200_u16).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn every_event_is_given_in_order_until_it_is_passed_or_put_away(
        acts in prop::collection::vec(acts(), 0..120),
    ) {
        let mut now = now();
        let mut one = partition(now);
        let (mut sent, mut stored, mut passed, mut given_to) = (0_u64, 0_u64, 0_u64, 0_u64);
        let mut buried = Vec::new();
        // How it asked, and how it was given what it has: up to where, and as one.
        let (mut asked, mut gifts) = (VecDeque::new(), VecDeque::new());
        for act in acts {
            sent += 1;
            one.look_again();
            while let Some(wish) = one.wish() {
                let from = wish.after.position + 1;
                let to = sent.min(wish.after.position + u64::from(wish.most));
                one.read(wish, (from..=to).map(event).collect(), now);
            }
            while let Some(deed) = one.advance(now, ALLOWED) {
                match deed {
                    Deed::Offer => one.began(TicketId::of_stream(sent), now),
                    Deed::Give(_, events) => {
                        // Exactly what follows the last that was passed, or given in this call.
                        for event in &events {
                            prop_assert_eq!(event.place.position, given_to + 1);
                            given_to += 1;
                        }
                        let as_one = asked.pop_front().unwrap();
                        gifts.extend((!events.is_empty()).then_some((given_to, as_one)));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            let runs = one.ticket().is_some();
            match act {
                Act::Ask(most, as_one) if runs && one.wants.len() < 3 => {
                    one.wants(want(most, as_one.then_some(5), as_one), now);
                    asked.push_back(as_one);
                }
                Act::Pass(count) if runs => {
                    if let Some(&(to, as_one)) = gifts.front() {
                        passed = if as_one { to } else { to.min(passed + u64::from(count)) };
                        one.pass(passed);
                        gifts.pop_front_if(|gift| gift.0 == passed);
                    }
                }
                Act::Part(count) if runs => {
                    // Neither what is passed nor what was not given is parted.
                    one.part(passed);
                    one.part(given_to + u64::from(count));
                    let end = passed + u64::from(count);
                    if let Some(&(to, true)) = gifts.front()
                        && end < to
                    {
                        one.part(end);
                        gifts.push_front((end, true));
                    }
                }
                Act::Return if runs => {
                    if !one.over() {
                        one.rest(now);
                    }
                    given_to = passed;
                    asked.clear();
                    gifts.clear();
                }
                Act::Fail(how) if runs && given_to > passed => {
                    let (to, as_one) = gifts[0];
                    let to = if as_one { to } else { passed + 1 };
                    let in_hand: Vec<_> = (passed + 1..=to).collect();
                    prop_assert_eq!(one.in_hand(), Some(&event(passed + 1)));
                    let then = match how {
                        0 => Then::Pass,
                        1 => Then::Bury,
                        _ => Then::Again(50 * MS),
                    };
                    if how < 2 {
                        passed = *in_hand.last().unwrap();
                    }
                    if how == 1 {
                        buried.extend(in_hand);
                    }
                    one.failed(trouble(passed + 1), then, At::All, now);
                    one.over();
                    given_to = passed;
                    asked.clear();
                    gifts.clear();
                }
                Act::Wait(ms) => now += u32::from(ms) * MS,
                _ => {}
            }
            prop_assert_eq!(one.passed().position, passed);
            if matches!(act, Act::Say) || one.say.is_some() {
                for pass in one.unsaid() {
                    match pass {
                        Pass::To(place) => prop_assert!(place.position > stored),
                        Pass::Buried { to, events, .. } => {
                            prop_assert_eq!(events.last().unwrap().place, to);
                            for event in &events {
                                prop_assert!(buried.contains(&event.place.position));
                            }
                        }
                        Pass::Failed(_) => {}
                    }
                }
                one.said(one.passed());
                stored = passed;
            }
        }
    }
}
