//! The pipeline's sources and sinks, as the roles call them.

use super::Pipeline;
use futures_util::future::{BoxFuture, ready};
use std::collections::BTreeMap;
use tidemill_actors::{
    receiver::BlockSink,
    seam::{PlannedRange, PublishError, Published, SinkHost, SourceError, SourceHost},
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

    fn next_ranges(
        &self,
        stream: StreamId,
        planned: &BTreeMap<PartitionId, u64>,
        records_max: Option<u64>,
    ) -> BoxFuture<'static, Result<Vec<PlannedRange>, SourceError>> {
        let source = self.streams.get(usize::from(stream.0)).map(|node| node.source.clone());
        let (files, planned) = (self.files.clone(), planned.clone());
        Box::pin(async move {
            let source = source.ok_or_else(|| SourceError(format!("{stream} is not in this program")))?;
            source.next_ranges(&files, &planned, records_max)
        })
    }

    fn is_exhausted(&self, stream: StreamId, planned: &BTreeMap<PartitionId, u64>) -> bool {
        self.streams.get(usize::from(stream.0)).is_some_and(|node| node.source.is_exhausted(planned))
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
