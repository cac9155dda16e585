//! The pipeline's sources and sinks, as the roles call them.

use super::Pipeline;
use futures_util::future::{BoxFuture, ready};
use std::collections::BTreeMap;
use tidemill_actors::{
    receiver::BlockSink,
    seam::{PublishError, Published, RangesFound, SinkHost, SourceError, SourceHost},
    supervision::panic::catch,
};
use tidemill_protocol::id::{PartitionId, Position, ReceiverId, RunId, SinkId, StreamId, TaskId};

impl SourceHost for Pipeline {
    fn receive(
        &self,
        receiver: ReceiverId,
        resume_after: Option<Position>,
        sink: BlockSink,
    ) -> BoxFuture<'static, Result<(), SourceError>> {
        match self.streams.get(usize::from(receiver.stream.0)).and_then(|stream| stream.source.received()) {
            Some(source) => match self.world.get() {
                Some(world) => source.receive(receiver, resume_after, sink, world),
                None => Box::pin(ready(Err(SourceError("this pipeline has no network".into())))),
            },
            None => Box::pin(ready(Err(SourceError(format!("{} is not received", receiver.stream))))),
        }
    }

    /// Sources that say their ranges may block (files): such are asked where that is allowed, others at once.
    fn next_ranges(
        &self,
        stream: StreamId,
        planned: &BTreeMap<PartitionId, u64>,
        records_max: Option<u64>,
    ) -> BoxFuture<'static, Result<RangesFound, SourceError>> {
        let source = self.streams.get(usize::from(stream.0)).map(|node| node.source.clone());
        let may_block = source.as_ref().is_some_and(|source| source.may_block());
        let (files, mut planned) = (self.files.clone(), planned.clone());
        let ask = move || -> Result<RangesFound, SourceError> {
            let source = source.ok_or_else(|| SourceError(format!("{stream} is not in this program")))?;
            let ranges = source.next_ranges(&files, &planned, records_max)?;
            planned.extend(ranges.iter().map(|range| (range.partition, range.to)));
            Ok(RangesFound { exhausted: source.is_exhausted(&planned), ranges })
        };
        let ask =
            move || catch(ask).unwrap_or_else(|panic| Err(SourceError(format!("it panicked: {panic}"))));
        match self.world.get().filter(|_| may_block).map(|world| world.spawner.clone()) {
            Some(spawner) => Box::pin(async move {
                let found = spawner.blocking(ask).await;
                found.unwrap_or_else(|| Err(SourceError("the process is ending".into())))
            }),
            None => Box::pin(ready(ask())),
        }
    }
}

impl SinkHost for Pipeline {
    fn publish(&self, published: Published) -> BoxFuture<'static, Result<(), PublishError>> {
        match self.sinks.get(usize::from(published.sink.0)) {
            Some(node) => node.sink.publish(published, &self.files),
            None => Box::pin(ready(Err(PublishError(format!("{} is not in this program", published.sink))))),
        }
    }

    fn discard(&self, run: RunId, sink: SinkId, task: TaskId) {
        if let Some(node) = self.sinks.get(usize::from(sink.0)) {
            node.sink.discard(run, sink, task, &self.files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        StreamContext,
        graph::{BuildOptions, PlannedSource, Push, SourceSpec, TaskEnv},
    };
    use futures_util::FutureExt;
    use std::{
        sync::{
            Arc, Mutex,
            mpsc::{Receiver, sync_channel},
        },
        thread::{self, ThreadId},
    };
    use tidemill_actors::seam::{PlannedRange, TaskError};
    use tidemill_protocol::world::{Files, World};

    /// Answers when it is told to, and panics when nobody is left to tell it.
    struct Slow(Mutex<Receiver<()>>);

    impl PlannedSource<u64> for Slow {
        fn next_ranges(
            &self,
            _: &Files,
            _: &BTreeMap<PartitionId, u64>,
            _: Option<u64>,
        ) -> Result<Vec<PlannedRange>, SourceError> {
            self.0.lock().unwrap().recv().expect("the sun shines");
            Ok(vec![PlannedRange { partition: PartitionId(0), from: 0, to: 7, rows: 7 }])
        }

        fn is_exhausted(&self, planned: &BTreeMap<PartitionId, u64>) -> bool {
            planned.get(&PartitionId(0)) == Some(&7)
        }

        fn read(
            &self,
            _: PartitionId,
            _: u64,
            _: u64,
            _: &mut dyn Push<u64>,
            _: &TaskEnv,
        ) -> Result<(), TaskError> {
            Ok(())
        }
    }

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    /// Says on which thread it was asked.
    struct Prompt(Arc<Mutex<Vec<ThreadId>>>, bool);

    impl PlannedSource<u64> for Prompt {
        fn next_ranges(
            &self,
            _: &Files,
            _: &BTreeMap<PartitionId, u64>,
            _: Option<u64>,
        ) -> Result<Vec<PlannedRange>, SourceError> {
            self.0.lock().unwrap().push(thread::current().id());
            Ok(Vec::new())
        }

        fn is_exhausted(&self, _: &BTreeMap<PartitionId, u64>) -> bool {
            false
        }

        fn may_block(&self) -> bool {
            self.1
        }

        fn read(
            &self,
            _: PartitionId,
            _: u64,
            _: u64,
            _: &mut dyn Push<u64>,
            _: &TaskEnv,
        ) -> Result<(), TaskError> {
            Ok(())
        }
    }

    #[test]
    fn a_source_that_answers_at_once_is_asked_by_its_caller_and_any_other_elsewhere() {
        for may_block in [false, true] {
            let asked = Arc::new(Mutex::new(Vec::new()));
            let context = StreamContext::new();
            let stream =
                context.register_source(SourceSpec::planned("prompt", Prompt(asked.clone(), may_block)));
            let _ = stream.foreach_batch(|_, _| Ok(()));
            let world = World::real();
            let pipeline = context.build(BuildOptions::default(), world.files.clone()).unwrap();
            pipeline.attach(world);
            block_on(pipeline.next_ranges(StreamId(0), &BTreeMap::new(), None)).unwrap();
            let here = asked.lock().unwrap()[0] == thread::current().id();
            assert_eq!(here, !may_block);
        }
    }

    #[test]
    fn a_source_that_blocks_or_panics_holds_no_thread_of_the_user_runtime() {
        let (tell, told) = sync_channel(1);
        let context = StreamContext::new();
        let stream = context.register_source(SourceSpec::planned("slow", Slow(Mutex::new(told))));
        let _ = stream.foreach_batch(|_, _| Ok(()));
        let world = World::real();
        let pipeline = context.build(BuildOptions::default(), world.files.clone()).unwrap();
        pipeline.attach(world);
        let mut asked = pipeline.next_ranges(StreamId(0), &BTreeMap::new(), None);
        assert!((&mut asked).now_or_never().is_none(), "whoever waits for it goes on");
        tell.send(()).unwrap();
        let found = block_on(asked).unwrap();
        let range = PlannedRange { partition: PartitionId(0), from: 0, to: 7, rows: 7 };
        assert_eq!(found, RangesFound { ranges: vec![range], exhausted: true });
        drop(tell);
        let error = block_on(pipeline.next_ranges(StreamId(0), &BTreeMap::new(), None)).unwrap_err();
        assert!(error.0.starts_with("it panicked: the sun shines: RecvError at "), "{error}");
    }
}
