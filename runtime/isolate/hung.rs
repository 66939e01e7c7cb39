//! Which events can never be answered.
//!
//! A stateless event that waits for nothing of its own waits for code of another one that may settle a promise of it:
//! as long as one of those that ran when it got stuck goes on, it may be answered. Whoever itself waits for a stuck
//! event goes nowhere, even if it has set a timer not to wait for ever. Objects do not count: they have no end.

use facetd_core::Table;
use facetd_rpc::{EventState, IsolateState};
use std::collections::{HashMap, HashSet};

/// The events that are to be failed now. Notes with those that are stuck whom they wait for.
pub(crate) fn hung_events(state: &IsolateState) -> Vec<u32> {
    let mut events = state.events.borrow_mut();
    let contexts = state.contexts.borrow();
    let calls = state.calls.borrow();
    let stateless = |context: u32| contexts.get(&context).is_some_and(|c| c.object.is_none());
    let is_waiting = |event: &EventState| event.reply.is_some() && stateless(event.context);
    // Asked whenever there is nothing to do: mostly, all of them wait for a call of their own.
    let mut asking: Table<u32, ()> = Table::default();
    asking.reserve(2 * calls.len());
    for call in calls.values() {
        asking.insert(call.context, ());
        asking.insert(call.event, ());
    }
    let all_wait_for_calls = events.iter().all(|(number, event)| {
        asking.contains_key(&event.context) || asking.contains_key(number) || !is_waiting(event)
    });
    if all_wait_for_calls {
        for event in events.values_mut() {
            event.stuck_while = None;
        }
        return Vec::new();
    }
    let waiting: Vec<u32> = events
        .iter()
        .filter(|(_, event)| is_waiting(event))
        .map(|(number, _)| *number)
        .collect();
    // The calls of each stateless context; those of events of callbacks count for the context they run in.
    let mut calls_of: HashMap<u32, Vec<(u32, bool)>> = HashMap::new();
    for (number, call) in calls.iter() {
        if stateless(call.context) {
            let own = calls_of.entry(call.context).or_default();
            own.push((*number, call.is_timer));
        }
    }
    let mut called_for: HashSet<u32> = calls.values().map(|call| call.event).collect();
    called_for.extend(calls_of.keys());
    // Somebody may call back, or a message may come.
    let mut reachable: HashSet<u32> = state.exports.borrow().values().map(|e| e.context).collect();
    reachable.extend(state.sockets.borrow().values().map(|socket| socket.context));

    let mut stuck: HashSet<u32> = HashSet::new();
    let mut blocked: HashSet<u32> = HashSet::new();
    loop {
        let before = stuck.len();
        for number in &waiting {
            let event = &events[number];
            if stuck.contains(number) || reachable.contains(&event.context) {
                continue;
            }
            let own = calls_of.get(&event.context);
            let only_blocked = own.is_some_and(|own| !goes_on(own, &blocked));
            let none = own.is_none() && !called_for.contains(number);
            if none || only_blocked {
                stuck.insert(*number);
                let caller = event
                    .caller
                    .filter(|caller| caller.isolate == state.identity);
                blocked.extend(caller.map(|caller| caller.call));
            }
        }
        if stuck.len() == before {
            break;
        }
    }
    let moving: HashSet<u32> = calls_of
        .iter()
        .filter(|(_, own)| goes_on(own, &blocked))
        .map(|(context, _)| *context)
        .collect();
    let mut hung = Vec::new();
    for number in waiting {
        let Some(event) = events.get_mut(&number) else {
            continue;
        };
        if !stuck.contains(&number) {
            event.stuck_while = None;
            continue;
        }
        let others = event
            .stuck_while
            .get_or_insert_with(|| moving.iter().copied().collect());
        others.retain(|context| moving.contains(context));
        // Whoever waits for it is told by its failure.
        if others.is_empty() && !calls_of.contains_key(&event.context) {
            hung.push(number);
        }
    }
    hung
}

/// Does a context get on that waits for these calls (and are they timers)?
fn goes_on(calls: &[(u32, bool)], blocked: &HashSet<u32>) -> bool {
    let waits_in_vain = calls.iter().any(|(call, _)| blocked.contains(call));
    calls
        .iter()
        .any(|(call, is_timer)| !(blocked.contains(call) || waits_in_vain && *is_timer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use facetd_core::{Caller, Inbox, Limits, Reply};
    use facetd_rpc::{Context, Exported};

    /// A stateless event and its context, which have the same number.
    fn event(state: &IsolateState, caller: Option<u32>) -> u32 {
        let number = state.next_id();
        let context = Context::default();
        state.contexts.borrow_mut().insert(number, context);
        let event = EventState {
            context: number,
            reply: Some(Reply::new(|_outcome| {})),
            limits: Limits::default(),
            cpu_used_ns: 0,
            sub_requests: 0,
            alarm: None,
            keep: None,
            timer: None,
            lingers: false,
            caller: caller.map(|call| Caller {
                isolate: state.identity,
                call,
            }),
            stuck_while: None,
            charge: None,
            link: None,
        };
        state.events.borrow_mut().insert(number, event);
        number
    }

    fn timer(state: &IsolateState, event: u32) -> u32 {
        let call = state.begin_call(event, event, 0);
        if let Some(begun) = state.calls.borrow_mut().get_mut(&call) {
            begun.is_timer = true;
        }
        call
    }

    const NONE: [u32; 0] = [];

    fn state() -> IsolateState {
        IsolateState::new(Inbox::new().0)
    }

    #[test]
    fn who_waits_for_nothing_is_hung_and_who_waits_is_not() {
        let state = state();
        let stuck = event(&state, None);
        assert_eq!(hung_events(&state), [stuck], "nobody is there to help it");
        state.begin_call(stuck, stuck, 0);
        assert_eq!(hung_events(&state), NONE, "its own call goes on");
    }

    #[test]
    fn others_that_went_on_may_help_and_later_ones_do_not_count() {
        let state = state();
        let stuck = event(&state, None);
        let other = event(&state, None);
        let call = state.begin_call(other, other, 0);
        assert_eq!(
            hung_events(&state),
            NONE,
            "the other may settle its promise"
        );
        let later = event(&state, None);
        state.begin_call(later, later, 0);
        state.calls.borrow_mut().remove(&call);
        state.events.borrow_mut().remove(&other);
        assert_eq!(hung_events(&state), [stuck], "the other is over");
    }

    #[test]
    fn whoever_waits_for_the_stuck_one_is_no_help_nor_is_their_timer() {
        let state = state();
        let outer = event(&state, None);
        timer(&state, outer);
        let middle = event(&state, Some(state.begin_call(outer, outer, 0)));
        let stuck = event(&state, Some(state.begin_call(middle, middle, 0)));
        assert_eq!(hung_events(&state), [stuck], "the others learn it from it");
    }

    #[test]
    fn a_timer_of_an_uninvolved_request_may_help() {
        let state = state();
        event(&state, None);
        let other = event(&state, None);
        timer(&state, other);
        assert_eq!(hung_events(&state), NONE);
    }

    #[test]
    fn who_can_be_called_back_is_not_hung() {
        let state = state();
        let stuck = event(&state, None);
        let exported = Exported {
            context: stuck,
            section: None,
        };
        state.exports.borrow_mut().insert(1, exported);
        assert_eq!(hung_events(&state), NONE);
    }
}
