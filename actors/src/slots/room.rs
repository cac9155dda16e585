//! Inputs that are at hand, and room for those of them that lie on disk: reading them takes memory, which is counted before.

use super::{Flags, InputError, InputSource};
use crate::{
    block_store::{Share, WorkMeter},
    executor::TaskEnd,
    seam::InputData,
};
use std::{sync::atomic::Ordering, thread, time::Duration};
use tidemill_protocol::message::{InputPart, TaskSpec};

/// How often a task that waits for room looks whether there is some, and whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often it looks before it fails: 30 s. Others may never give back what they have.
const LOOKS_MAX: u32 = 3_000;

impl InputSource {
    /// The inputs of `spec` that are at hand in this process. What of them is on disk is counted in `work` before it is read;
    /// where there is no room for it now, this waits, on a slot's thread. Only tasks that run hold such memory, and
    /// none of them waits for more, so there is no circle.
    ///
    /// # Errors
    /// How the task ends: an input is not at hand, there is not so much memory, or nobody wants the task any more.
    pub(super) fn read_now(
        &self,
        spec: &TaskSpec,
        flags: &Flags,
        work: &WorkMeter,
    ) -> Result<Vec<Vec<InputData>>, TaskEnd> {
        let (kept, files) = self.on_disk(spec);
        if files > 0 {
            self.wait_for_room(kept.saturating_add(files), flags, work)?;
        }
        let inputs = self.now(spec)?;
        work.give_back(files);
        Ok(inputs)
    }

    /// How many bytes of the inputs at hand are to be read from disk: in memory, and of their files.
    fn on_disk(&self, spec: &TaskSpec) -> (u64, u64) {
        let weigh = |part: &InputPart| match part {
            InputPart::Held { key, holders } => self.weight_now(*key, holders),
            InputPart::Range { .. } | InputPart::Shuffle { .. } => None,
        };
        let on_disk = |part| weigh(part).and_then(|weight| Some((weight.bytes, weight.file_bytes?)));
        let parts = spec.inputs.iter().flatten().filter_map(on_disk);
        parts.fold((0u64, 0u64), |(kept, files), (bytes, file)| {
            (kept.saturating_add(bytes), files.saturating_add(file))
        })
    }

    fn wait_for_room(&self, bytes: u64, flags: &Flags, work: &WorkMeter) -> Result<(), TaskEnd> {
        let is_too_much = bytes > self.store.budget().share(Share::Work);
        let mut looks = 0;
        loop {
            match work.charge(bytes) {
                Ok(()) => return Ok(()),
                Err(error) if is_too_much || looks == LOOKS_MAX => return Err(InputError::from(error).into()),
                Err(_) if flags.cancelled.load(Ordering::Relaxed) => return Err(TaskEnd::Cancelled),
                // It is not stuck: it waits for its turn.
                Err(_) => flags.progress.fetch_add(1, Ordering::Relaxed),
            };
            looks += 1;
            thread::park_timeout(LOOK_EVERY);
        }
    }
}
