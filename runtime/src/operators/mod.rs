//! The operators of [`DStream`](crate::DStream), one a file.
//!
//! ```text
//!   within a stage    map  map_values  flat_map  flat_map_text  filter  inspect  map_partitions  union  transform
//!   with a shuffle    repartition  count  reduce  count_by_value  reduce_by_key  group_by_key  combine_by_key  join
//!   outputs           foreach_batch  foreach_partition  print  save_as_text_files
//!   shared parts      combine (keyed shuffles)  deal (shuffles without keys)  fold (one value a partition)
//! ```

mod combine;
mod combine_by_key;
mod count;
mod count_by_value;
mod deal;
mod filter;
mod flat_map;
mod flat_map_text;
mod fold;
mod foreach_batch;
mod foreach_partition;
mod group_by_key;
mod inspect;
mod join;
mod map;
mod map_partitions;
mod map_values;
mod print;
mod reduce;
mod reduce_by_key;
mod repartition;
mod save_as_text_files;
mod staged;
mod transform;
mod union;

pub use flat_map_text::TextOut;
