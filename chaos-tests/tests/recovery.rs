//! The time to recover from the loss of an executor falls with the number of executors: simulated, virtual time by a cost model.

use std::time::Duration;
use tidemill_chaos::recovery::{COST, TASKS, lose, measure};

#[test]
fn the_time_to_recover_falls_with_the_number_of_executors() {
    let rows = [2, 3, 6, 12].map(|executors| measure(executors, 3).expect("each run loses and recovers"));
    for row in &rows {
        println!("simulated: {row:?}");
        // As many tasks as it had of the batch, give or take one; detection does not depend on the number.
        let share = f64::from(TASKS) / f64::from(row.executors);
        assert!((row.tasks - share).abs() <= 1.0, "{row:?}");
        assert!((1.0..=2.5).contains(&row.detection_s), "{row:?}");
    }
    for pair in rows.windows(2) {
        assert!(pair[1].recomputation_s < pair[0].recomputation_s, "{pair:?}");
        assert!(pair[1].recovery_s < pair[0].recovery_s, "{pair:?}");
    }
    // Not by a little: one that is left makes half the work again, eleven make a twelfth of it.
    assert!(rows[0].recomputation_s > 8.0 * rows[3].recomputation_s, "{rows:?}");
}

#[test]
fn one_seed_gives_one_loss_and_what_is_left_is_as_fast_as_the_model_permits() {
    let loss = lose(3, 9).expect("it recovers");
    assert_eq!(loss, lose(3, 9).expect("it recovers"));
    // What is lost, on two, and a reduce task: no less than the model's cheapest tasks, no more than its dearest and a second.
    let rounds = u32::try_from(loss.tasks.div_ceil(2)).expect("few") + 1;
    let (least, most) = ((COST * rounds).mul_f64(0.9), (COST * rounds).mul_f64(1.1) + Duration::from_secs(1));
    assert!((least..=most).contains(&loss.recomputation), "{loss:?}: {rounds} rounds");
}
