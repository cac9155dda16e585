//! Faults on real processes: one case of each; the scenarios, and what they assert, are in `tidemill_chaos::real`.

use std::{io::Write, path::Path};
use tidemill_chaos::real::{End, SCENARIOS, named};

/// Runs a scenario, which ends with exact totals of some lines, or cannot run here.
fn check(test: &str, scenario: &str) {
    check_lines(test, scenario, 1);
}

/// The same, of so many lines at least.
fn check_lines(test: &str, scenario: &str, lines_min: u64) {
    let real = named(scenario).expect("there is such a scenario");
    match real.run(Path::new(env!("CARGO_BIN_EXE_tidemill-chaos"))) {
        Ok(End::Equal { lines, struck }) => {
            assert!(lines >= lines_min, "{scenario}: {lines} lines were counted, not {lines_min}");
            assert!(!struck.is_empty(), "{scenario}: nothing struck");
            println!("{scenario}: {lines} lines, {}", struck.join(", "));
        }
        // Past the test harness, which would keep it.
        Ok(End::LeftOut(why)) => {
            let line = format!("left out: {test} ({why})\n");
            std::io::stderr().write_all(line.as_bytes()).expect("stderr takes a line");
        }
        Err(wrong) => panic!("{wrong}"),
    }
}

#[test]
fn kill_9_of_the_receivers_executor_in_a_task_leaves_half_a_million_lines_counted_exactly() {
    check_lines(
        "kill_9_of_the_receivers_executor_in_a_task_leaves_half_a_million_lines_counted_exactly",
        "kill-receiver",
        500_000,
    );
}

#[test]
fn kill_9_of_another_executor_in_a_task_leaves_half_a_million_lines_counted_exactly() {
    check_lines(
        "kill_9_of_another_executor_in_a_task_leaves_half_a_million_lines_counted_exactly",
        "kill-other",
        500_000,
    );
}

#[test]
fn kill_9_of_an_agent_ends_its_executors_within_2_s_and_totals_are_exact() {
    check("kill_9_of_an_agent_ends_its_executors_within_2_s_and_totals_are_exact", "kill-agent");
}

#[test]
fn an_executor_stopped_for_10_s_is_succeeded_and_totals_are_exact() {
    check("an_executor_stopped_for_10_s_is_succeeded_and_totals_are_exact", "stop-10s");
}

#[test]
fn an_executor_stopped_for_60_s_is_succeeded_and_totals_are_exact() {
    check("an_executor_stopped_for_60_s_is_succeeded_and_totals_are_exact", "stop-60s");
}

#[test]
fn a_link_that_goes_down_leaves_totals_exact() {
    check("a_link_that_goes_down_leaves_totals_exact", "link-down");
}

#[test]
fn a_link_cut_one_way_leaves_totals_exact() {
    check("a_link_cut_one_way_leaves_totals_exact", "cut-one-way");
}

#[test]
fn a_loss_of_30_percent_of_all_datagrams_leaves_totals_exact() {
    check("a_loss_of_30_percent_of_all_datagrams_leaves_totals_exact", "loss-30");
}

#[test]
fn a_disk_that_is_full_for_a_while_leaves_totals_exact_and_no_partial_result() {
    check("a_disk_that_is_full_for_a_while_leaves_totals_exact_and_no_partial_result", "disk-full");
}

#[test]
fn a_disk_full_of_spilled_data_leaves_totals_exact() {
    check("a_disk_full_of_spilled_data_leaves_totals_exact", "spill-full");
}

#[test]
fn an_executor_at_its_limit_of_memory_leaves_totals_exact() {
    check("an_executor_at_its_limit_of_memory_leaves_totals_exact", "memory-limit");
}

#[test]
fn an_executor_that_the_kernel_ends_for_want_of_memory_is_succeeded_and_totals_are_exact() {
    check(
        "an_executor_that_the_kernel_ends_for_want_of_memory_is_succeeded_and_totals_are_exact",
        "memory-kill",
    );
}

#[test]
fn an_executor_with_a_quota_of_processor_time_leaves_totals_exact() {
    check("an_executor_with_a_quota_of_processor_time_leaves_totals_exact", "cpu-quota");
}

#[test]
fn every_scenario_has_a_test() {
    let tests = include_str!("main.rs");
    for real in &SCENARIOS {
        assert!(tests.contains(&format!("\"{}\"", real.name)), "{} has no test", real.name);
    }
}
