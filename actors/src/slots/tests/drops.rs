//! Records whose destructors panic.

use super::*;
use crate::seam::{Payload, PayloadError};
use std::any::Any;
use tidemill_protocol::id::{DatasetId, Incarnation, ReceiverId, ReceiverIndex, StreamId};

#[derive(Debug)]
struct Explosive;

impl Drop for Explosive {
    fn drop(&mut self) {
        panic!("it does not go quietly");
    }
}

impl Payload for Explosive {
    fn rows(&self) -> u64 {
        1
    }

    fn heap_bytes(&self) -> u64 {
        100
    }

    fn dataset(&self) -> DatasetId {
        DatasetId(99)
    }

    fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        Ok(Vec::new())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[tokio::test]
async fn data_whose_destructor_panics_are_let_go_of_like_all_others() {
    let mut rig = Rig::local(member(1));
    let explosive = || Held::new(vec![Arc::new(Explosive)]);
    rig.store.put_output(task(0, 7), PartitionId(0), explosive()).expect("room");
    rig.store.put_output(task(0, 8), PartitionId(0), explosive()).expect("room");
    assert_eq!(rig.store.bytes(), 200);
    rig.order(ToExecutor::Drop { keys: vec![output(task(0, 7), 0)] });
    assert_eq!(rig.store.bytes(), 100);
    rig.order(ToExecutor::ReleaseOutputs { up_to: BatchNumber(3) });
    assert_eq!(rig.store.bytes(), 0);
    rig.run(task(3, 0), vec![]);
    assert!(matches!(rig.told(Time::ZERO).await, ToDriver::TaskFailed(_)), "it goes on");
    let receiver = ReceiverId { stream: StreamId(0), index: ReceiverIndex(0), incarnation: Incarnation(0) };
    rig.store.put_block(BlockId { receiver, sequence: 0 }, explosive()).expect("room");
    rig.store.clear();
    assert_eq!(rig.store.bytes(), 0, "nor does it stop who clears the store");
}
