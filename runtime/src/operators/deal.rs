//! A shuffle without keys: records are dealt out to partitions in turn, and read back in order of (map partition, record).

use crate::{
    data::{Chunk, Collector, Data, Rows},
    dstream::DStream,
    graph::{Push, TaskEnv, each_held},
};
use std::{rc::Rc, sync::Arc};
use tidemill_actors::seam::{Held, InputData, TaskError};
use tidemill_protocol::id::PartitionId;

impl<T: Data, S: 'static> DStream<T, S> {
    pub(super) fn dealt(&self, label: &'static str, partitions: Option<u32>) -> DStream<T, S> {
        let exchange = self.exchange::<Rows<T>, _>(label, partitions, |env| Box::new(Deal::new(env)));
        self.merge(label, vec![exchange], |inputs, mut down, env| {
            for part in inputs.into_iter().flatten() {
                let InputData::Held(held) = part else {
                    return Err(super::combine::no_range());
                };
                each_held(&held, |rows: &Rows<T>| {
                    rows.each_chunk(|chunk| {
                        env.admit(chunk.len())?;
                        down.push(chunk)
                    })
                })?;
            }
            down.finish()
        })
    }
}

struct Deal<T> {
    env: Rc<TaskEnv>,
    next: usize,
    hands: Vec<Collector<T>>,
}

impl<T: Data> Deal<T> {
    fn new(env: &Rc<TaskEnv>) -> Self {
        let partitions = env.partitions() as usize;
        // Each map partition begins elsewhere, or small partitions would all go to the first.
        let next = env.context().task.key.partition.0 as usize % partitions;
        Deal { env: env.clone(), next, hands: (0..partitions).map(|_| Collector::default()).collect() }
    }
}

impl<T: Data> Push<T> for Deal<T> {
    fn push(&mut self, chunk: &mut Chunk<T>) -> Result<(), TaskError> {
        self.env.charge(chunk.bytes())?;
        if let [only] = self.hands.as_mut_slice() {
            return only.push_chunk(chunk);
        }
        chunk.take_each(|record| {
            self.hands[self.next].push(record)?;
            self.next = (self.next + 1) % self.hands.len();
            Ok(())
        })
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        for (partition, hand) in std::mem::take(&mut self.hands).into_iter().enumerate() {
            if !hand.is_empty() {
                self.env.output(PartitionId(partition as u32), Held::new(vec![Arc::new(hand.finish())]));
            }
        }
        Ok(())
    }
}
