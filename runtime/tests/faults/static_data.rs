//! Static data with nothing beside them.

use super::support::{available_now, end, published};
use tidemill::StreamContext;

#[test]
fn under_available_now_static_data_alone_are_one_batch_and_then_the_pipeline_ends() {
    let context = StreamContext::with_config(available_now());
    let months = context.static_dataset("months", || vec!["May".to_owned(), "June".to_owned()]);
    let rows = published(&months);
    end(context.start().unwrap()).unwrap();
    assert_eq!(rows.all(), ["May", "June"]);
}
