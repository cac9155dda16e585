//! Two processes with one node number.

use super::*;

fn answers(link: u64, from: Member, nonce: u64) -> Event {
    says(link, from, ToDriver::Alive { nonce })
}

/// Node 1 lives on link 1, and a newer life has registered on link 2 at 0: question 1.
fn contested() -> Table {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.gives(0, register(2, life(1, 2)), &["ping node-1.i1 1"]);
    t
}

const UP: [&str; 3] = ["welcome node-1.i2 on 2", "up node-1.i2", "peers to node-1.i2: node-1.i2"];

#[test]
fn a_living_process_keeps_its_number_and_does_not_notice() {
    let mut t = contested();
    // What was on its way before the question is no answer.
    t.gives(1, says(1, life(1, 1), leaked()), &["deliver node-1.i1 to Scheduler"]);
    t.gives(2, answers(1, life(1, 1), 0), &[]);
    let text = "refuse 2: node-1.i2 is refused: node-1.i1 of this node is alive and answers; two processes have been given one \
                number, so give one of them another";
    t.gives(3, answers(1, life(1, 1), 1), &[text]);
    assert!(t.last.contains(&Action::Count(Counter::Refused)));
    // Again and again: each time the same.
    t.gives(4, register(3, life(1, 3)), &["ping node-1.i1 2"]);
    t.gives(5, answers(1, life(1, 1), 2), &[&text.replace("refuse 2: node-1.i2", "refuse 3: node-1.i3")]);
    t.gives(6, says(1, life(1, 1), leaked()), &["deliver node-1.i1 to Scheduler"]);
}

#[test]
fn a_successor_is_admitted_once_the_older_process_has_not_answered() {
    let mut t = contested();
    for at in [125, 250, 375] {
        t.gives(at, Event::Wake, &[]);
    }
    let expected = [&["down node-1.i1: Replaced", "close 1"][..], &UP[..]].concat();
    t.gives(500, Event::Wake, &expected);
    t.gives(501, lost(1), &[]);
    let text =
        "refuse 1: node-1.i1 is not registered: it was declared dead, or has not registered; start it again";
    t.gives(502, says(1, life(1, 1), leaked()), &[text]);
    t.gives(503, says(2, life(1, 2), leaked()), &["deliver node-1.i2 to Scheduler"]);
}

#[test]
fn a_lost_link_or_death_admits_the_successor_at_once() {
    let mut t = contested();
    t.gives(1, lost(1), &[&["down node-1.i1: LinkLost"][..], &UP[..]].concat());
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    // Asked from 625 on, eight times.
    for look in 1..=12 {
        t.membership.on_event(Time(look * 125_000_000), Event::Wake, &mut Vec::new());
    }
    t.gives(1_550, register(2, life(1, 2)), &["ping node-1.i1 9"]);
    let expected = [&["down node-1.i1: Silent(1.625s)", "close 1"][..], &UP[..]].concat();
    t.gives(1_625, Event::Wake, &expected);
}

#[test]
fn a_driver_that_slept_waits_for_the_answer_first() {
    let mut t = contested();
    t.gives(60_000, Event::Wake, &[]);
    let text = "refuse 2: node-1.i2 is refused: node-1.i1 of this node is alive and answers; two processes have been given one \
                number, so give one of them another";
    t.gives(60_001, answers(1, life(1, 1), 1), &[text]);
}

#[test]
fn of_those_who_wait_the_newest_does_and_one_that_goes_is_forgotten() {
    let mut t = contested();
    let stale = |link: u64, member: &str, known: &str| {
        format!(
            "refuse {link}: {member} is refused: {known} of this node has registered already; start the node again, so that it gets a \
             higher one"
        )
    };
    t.gives(1, register(3, life(1, 2)), &[&stale(3, "node-1.i2", "i2")]);
    t.gives(2, register(4, life(1, 5)), &[&stale(2, "node-1.i2", "i5"), "ping node-1.i1 2"]);
    // What it says before it is admitted is refused, and does not cost it its place.
    t.gives(3, says(4, life(1, 5), leaked()), &[]);
    assert!(t.last.contains(&Action::Count(Counter::MessagesRefused)));
    t.gives(4, lost(4), &[]);
    t.gives(5, lost(1), &["down node-1.i1: LinkLost"]);
    // It was never admitted: its number is as good as unknown.
    let up = ["welcome node-1.i2 on 6", "up node-1.i2", "peers to node-1.i2: node-1.i2"];
    t.gives(6, register(6, life(1, 2)), &up);
}

/// A newer life on link 2, which says that the process `ended` of its node is no more.
fn successor(member: Member, ended: u32) -> Event {
    let ended = Some(Incarnation(ended));
    says(2, member, ToDriver::Register(Registration { ended, ..registration(member) }))
}

#[test]
fn a_successor_whose_agent_saw_the_older_process_end_is_admitted_at_once() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    let expected = [&["down node-1.i1: Ended", "close 1"][..], &UP[..]].concat();
    t.gives(1, successor(life(1, 2), 1), &expected);
    t.gives(2, lost(1), &[]);
    t.gives(3, says(2, life(1, 2), leaked()), &["deliver node-1.i2 to Scheduler"]);
}

#[test]
fn a_successor_that_names_another_life_does_not_cost_the_living_one_its_place() {
    for named in [0, 2, 4, 9] {
        let mut t = Table::new();
        t.membership.on_event(Time(0), register(1, life(1, 3)), &mut Vec::new());
        t.membership.on_event(Time(0), register(7, life(2, named)), &mut Vec::new());
        t.gives(1, successor(life(1, 4), named), &["ping node-1.i3 1"]);
        let text = "refuse 2: node-1.i4 is refused: node-1.i3 of this node is alive and answers; two processes have been given \
                    one number, so give one of them another";
        t.gives(2, answers(1, life(1, 3), 1), &[text]);
        t.gives(3, says(7, life(2, named), leaked()), &[&format!("deliver node-2.i{named} to Scheduler")]);
    }
}

#[test]
fn a_successor_of_a_life_that_is_known_to_be_dead_is_admitted_as_anybody() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.gives(1, lost(1), &["down node-1.i1: LinkLost"]);
    t.gives(2, successor(life(1, 2), 1), &UP);
    // One that is not newer than what was here is refused, whatever it says.
    let stale = "refuse 2: node-1.i1 is refused: i2 of this node has registered already; start the node again, so that it gets a higher one";
    t.membership.on_event(Time(3), lost(2), &mut Vec::new());
    t.gives(4, successor(life(1, 1), 2), &[stale]);
}

#[test]
fn a_successor_turns_away_whoever_waited_for_its_place() {
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    t.gives(0, register(3, life(1, 2)), &["ping node-1.i1 1"]);
    let stale = "refuse 3: node-1.i2 is refused: i3 of this node has registered already; start the node again, so that it gets a higher one";
    let up = ["welcome node-1.i3 on 2", "up node-1.i3", "peers to node-1.i3: node-1.i3"];
    let expected = [&[stale, "down node-1.i1: Ended", "close 1"][..], &up[..]].concat();
    t.gives(1, successor(life(1, 3), 1), &expected);
}

/// A newer life on link 2, which says that all lives of its node from `since` to `ended` are no more.
fn successor_of_many(member: Member, since: u32, ended: u32) -> Event {
    let (ended_since, ended) = (Some(Incarnation(since)), Some(Incarnation(ended)));
    says(2, member, ToDriver::Register(Registration { ended, ended_since, ..registration(member) }))
}

#[test]
fn after_two_quick_deaths_the_third_process_is_admitted_at_once() {
    // The second has died before the driver heard of it; the first is still thought to live.
    let mut t = Table::new();
    t.membership.on_event(Time(0), register(1, life(1, 1)), &mut Vec::new());
    let up = ["welcome node-1.i3 on 2", "up node-1.i3", "peers to node-1.i3: node-1.i3"];
    let expected = [&["down node-1.i1: Ended", "close 1"][..], &up[..]].concat();
    t.gives(1, successor_of_many(life(1, 3), 1, 2), &expected);
    // The second had come as far as to wait for the first one's answer.
    let mut t = contested();
    let stale = "refuse 2: node-1.i2 is refused: i3 of this node has registered already; start the node again, so that it gets a higher one";
    let third = match successor_of_many(life(1, 3), 1, 2) {
        Event::Message { from, message, .. } => Event::Message { link: LinkId(3), from, message },
        other => other,
    };
    let up = ["welcome node-1.i3 on 3", "up node-1.i3", "peers to node-1.i3: node-1.i3"];
    t.gives(1, third, &[&[stale, "down node-1.i1: Ended", "close 1"][..], &up[..]].concat());
}

#[test]
fn lives_outside_of_those_that_have_ended_are_asked() {
    for (since, ended) in [(1, 2), (4, 5), (5, 1), (0, 0)] {
        let mut t = Table::new();
        t.membership.on_event(Time(0), register(1, life(1, 3)), &mut Vec::new());
        t.gives(1, successor_of_many(life(1, 6), since, ended), &["ping node-1.i3 1"]);
    }
}

#[test]
fn of_two_agents_with_a_copied_folder_the_second_is_refused_and_the_first_does_not_notice() {
    let of_agent = |link: u64, member: Member, agent: u64, ended: Option<u32>| {
        let ended = ended.map(Incarnation);
        says(
            link,
            member,
            ToDriver::Register(Registration { agent: Some(agent), ended, ..registration(member) }),
        )
    };
    let mut t = Table::new();
    t.membership.on_event(Time(0), of_agent(1, life(1, 1), 77, None), &mut Vec::new());
    // The other agent counts the same lives. Its first is refused, and ends; it has seen that, and says so of life 1.
    let stale = "refuse 2: node-1.i1 is refused: i1 of this node has registered already; start the node again, so that it gets a higher one";
    t.gives(1, of_agent(2, life(1, 1), 88, None), &[stale]);
    t.gives(2, of_agent(3, life(1, 2), 88, Some(1)), &["ping node-1.i1 1"]);
    let in_use = "refuse 3: node-1.i2 is refused: node-1.i1 of this node is alive and answers; two processes have been given one \
                  number, so give one of them another";
    t.gives(3, answers(1, life(1, 1), 1), &[in_use]);
    t.gives(4, says(1, life(1, 1), leaked()), &["deliver node-1.i1 to Scheduler"]);
    // One that does not say who has started it knows as little.
    t.gives(5, successor(life(1, 3), 1), &["ping node-1.i1 2"]);
    t.gives(6, answers(1, life(1, 1), 2), &[&in_use.replace("refuse 3: node-1.i2", "refuse 2: node-1.i3")]);
    // Of its own processes an agent knows.
    let expected = [&["down node-1.i1: Ended", "close 1"][..], &UP[..]].concat();
    t.gives(7, of_agent(2, life(1, 2), 77, Some(1)), &expected);
}
