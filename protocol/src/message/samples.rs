//! One example or more of every wire message: the test vectors of docs/PROTOCOL.md, the seeds of the fuzz targets and the
//! subjects of the hostile tests. A variant without an example does not compile, because the same list that holds the
//! examples makes the exhaustive `match` of `variant`.

use super::{
    BlockInfo, BulkReply, BulkRequest, Hello, InputPart, OutputInfo, PackedPiece, PeerInfo, Piece,
    ReceiverExitReason, ReceiverOrder, Registration, TaskFacts, TaskFailure, TaskOutcome, TaskSpec, ToDriver,
    ToExecutor,
};
use super::{BroughtOutput, Notice, Route, StageRead};
use super::{CertificateBytes, JoinRefusal, JoinReply, JoinRequest, Secret};
use super::{Exhausted, Resource};
use super::{NamedValue, ProgramFacts, ProgramPrint, Reply, Request, StatusEntry};
use crate::id::{
    Attempt, BatchNumber, BlockId, DataKey, DatasetId, Epoch, Incarnation, Member, NodeId, PartitionId,
    Position, ProgramId, ReceiverId, ReceiverIndex, RunId, StageId, StreamId, TaskId, TaskKey,
};
use crate::time::BatchTime;
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

/// Gives `$message` the functions `samples`, `variant` and `VARIANTS` from one list.
macro_rules! samples {
    ($message:ident { $($variant:ident => $($sample:expr),+;)+ }) => {
        impl $message {
            /// The names of all variants, in the order of the examples.
            pub const VARIANTS: &'static [&'static str] = &[$(stringify!($variant)),+];

            /// At least one example of every variant, the same in every build.
            #[must_use]
            pub fn samples() -> Vec<Self> {
                vec![$($($sample),+),+]
            }

            /// The variant's name, as it stands on the wire.
            #[must_use]
            pub fn variant(&self) -> &'static str {
                match self {
                    $($message::$variant { .. } => stringify!($variant),)+
                }
            }
        }
    };
}

samples!(ToExecutor {
    Welcome => ToExecutor::Welcome { epoch: Epoch(7) };
    Peers =>
        ToExecutor::Peers { peers: vec![
            PeerInfo { member: member(0), bulk_address: None },
            PeerInfo { member: member(1), bulk_address: Some(SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 7001))) },
            PeerInfo { member: member(2), bulk_address: Some(SocketAddr::from((Ipv6Addr::LOCALHOST, 7002))) },
        ] };
    StartReceiver =>
        ToExecutor::StartReceiver(ReceiverOrder {
            receiver: receiver(), resume_after: Some(Position(41)), open_batch: BatchNumber(3), records_per_s_max: 10_000,
        }),
        ToExecutor::StartReceiver(ReceiverOrder {
            receiver: receiver(), resume_after: None, open_batch: BatchNumber(0), records_per_s_max: 0,
        });
    StopReceiver => ToExecutor::StopReceiver { receiver: receiver() };
    Cut => ToExecutor::Cut { batch: BatchNumber(5), at: BatchTime(1_700_000_000_500) };
    SetRate => ToExecutor::SetRate { receiver: receiver(), records_per_s_max: 123_456 };
    SafeRecorded => ToExecutor::SafeRecorded { block: block() };
    Run =>
        ToExecutor::Run {
            facts: TaskFacts {
                epoch: Epoch(7), program: ProgramId(0xfeed_f00d), batch: BatchNumber(5),
                time: BatchTime(1_700_000_000_500), seed: u64::MAX, run: RunId(0x0197_0000_0000_beef),
            },
            tasks: vec![Arc::new(TaskSpec { task: task(), inputs: vec![
                vec![InputPart::Held { key: DataKey::Block(block()), holders: vec![member(1), member(2)] }],
                vec![InputPart::Range { stream: StreamId(1), partition: PartitionId(0), from: 100, to: 200 }],
                vec![],
            ] })],
            routes: vec![],
        },
        ToExecutor::Run {
            facts: TaskFacts {
                epoch: Epoch(7), program: ProgramId(0xfeed_f00d), batch: BatchNumber(5),
                time: BatchTime(1_700_000_000_500), seed: u64::MAX, run: RunId(0x0197_0000_0000_beef),
            },
            tasks: vec![Arc::new(TaskSpec { task: task(), inputs: vec![vec![InputPart::Shuffle {
                stage: StageId(0), partition: PartitionId(2), writers: 3, attempt: Attempt(0),
            }]] })],
            routes: vec![Arc::new(Route {
                stage: StageId(1), attempt: Attempt(0),
                readers: vec![(NodeId(1), Incarnation(2)), (NodeId(2), Incarnation(2))],
                partitions: vec![(PartitionId(0), 0), (PartitionId(1), 1), (PartitionId(1), 0)],
            })],
        };
    Cancel => ToExecutor::Cancel { tasks: vec![task()] };
    Drop => ToExecutor::Drop { keys: vec![DataKey::Block(block()), output()] };
    ReleaseOutputs => ToExecutor::ReleaseOutputs { up_to: BatchNumber(4) };
    Ping => ToExecutor::Ping { nonce: 99 };
    Shutdown => ToExecutor::Shutdown;
    Replicate => ToExecutor::Replicate { block: block(), to: member(2) };
    PeersLeaving => ToExecutor::PeersLeaving { members: vec![member(1), member(2)] };
    Denied => ToExecutor::Denied { nodes: vec![NodeId(3), NodeId(u16::MAX)] };
    NameInputs =>
        ToExecutor::NameInputs { tasks: vec![Arc::new(TaskSpec { task: task(), inputs: vec![
            vec![InputPart::Held { key: output(), holders: vec![member(2)] }],
        ] })] };
    Group =>
        ToExecutor::Group { orders: vec![
            ToExecutor::ReleaseOutputs { up_to: BatchNumber(4) },
            ToExecutor::Run {
                facts: TaskFacts {
                    epoch: Epoch(7), program: ProgramId(0xfeed_f00d), batch: BatchNumber(5),
                    time: BatchTime(1_700_000_000_500), seed: 1, run: RunId(1),
                },
                tasks: vec![Arc::new(TaskSpec { task: task(), inputs: vec![] })],
                routes: vec![],
            },
        ] };
});

samples!(ToDriver {
    Register =>
        ToDriver::Register(Registration {
            member: member(1), slots: 4, program: ProgramId(0xfeed_f00d),
            bulk_address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7001))),
            made_of: ProgramPrint { executable: 1, partitions: 4, parameters: 2, operators: vec![3, u64::MAX] },
            ended: Some(Incarnation(2)), ended_since: Some(Incarnation(1)), agent: Some(0xa6e7),
        });
    ReceiverStarted => ToDriver::ReceiverStarted { receiver: receiver() };
    BlockAdded =>
        ToDriver::BlockAdded(BlockInfo {
            block: block(), batch: BatchNumber(5), rows: 1_000, bytes: 65_536, first: Some(Position(42)),
            last: Some(Position(1_041)), holder: member(1), awaits_safety: true,
        });
    BlockSafe =>
        ToDriver::BlockSafe { block: block(), replica: Some(member(2)) },
        ToDriver::BlockSafe { block: block(), replica: None };
    EndOfBatch => ToDriver::EndOfBatch { receiver: receiver(), batch: BatchNumber(5) };
    ReceiverExited =>
        ToDriver::ReceiverExited { receiver: receiver(), reason: ReceiverExitReason::Stopped },
        ToDriver::ReceiverExited { receiver: receiver(), reason: ReceiverExitReason::Exhausted },
        ToDriver::ReceiverExited {
            receiver: receiver(), reason: ReceiverExitReason::Failed("connection refused".to_string()),
        },
        ToDriver::ReceiverExited {
            receiver: receiver(), reason: ReceiverExitReason::Panicked("index out of bounds at map.rs:7".to_string()),
        },
        ToDriver::ReceiverExited {
            receiver: receiver(), reason: ReceiverExitReason::Uncopyable("it does not survive the wire".to_string()),
        };
    SourceReport => ToDriver::SourceReport { stream: StreamId(1), what: "bad_utf8".to_string(), count: 3 };
    TaskDone =>
        ToDriver::TaskDone(Arc::new(TaskOutcome {
            task: task(), holder: member(1),
            outputs: vec![OutputInfo { partition: PartitionId(2), rows: 10, bytes: 400 }],
            rows_in: 1_000, run_ns: 1_234_567, read: vec![DataKey::Block(block())],
            read_stages: vec![StageRead { stage: StageId(0), attempt: Attempt(0) }],
            prepared: vec![piece()],
        }));
    TaskFailed =>
        ToDriver::TaskFailed(TaskFailure {
            task: task(), reporter: member(1), message: "divided by zero at map.rs:7".to_string(), missing: None,
            exhausted: None, unreached: vec![],
        }),
        ToDriver::TaskFailed(TaskFailure {
            task: task(), reporter: member(1), message: "not here".to_string(), missing: Some(output()),
            exhausted: None, unreached: vec![member(2)],
        }),
        ToDriver::TaskFailed(TaskFailure {
            task: task(), reporter: member(1), message: "no room".to_string(), missing: None,
            exhausted: Some(Exhausted { resource: Resource::Inputs, needed: 1 << 30, max: 1 << 20 }), unreached: vec![],
        }),
        ToDriver::TaskFailed(TaskFailure {
            task: task(), reporter: member(1), message: "no room".to_string(), missing: None,
            exhausted: Some(Exhausted { resource: Resource::Outputs, needed: 9, max: 8 }), unreached: vec![],
        }),
        ToDriver::TaskFailed(TaskFailure {
            task: task(), reporter: member(1), message: "no space".to_string(), missing: None,
            exhausted: Some(Exhausted { resource: Resource::Disk, needed: 9, max: 8 }), unreached: vec![],
        });
    SlotLeaked => ToDriver::SlotLeaked { task: task() };
    Alive => ToDriver::Alive { nonce: 99 };
    BlockCopied =>
        ToDriver::BlockCopied { block: block(), to: member(2), kept: true },
        ToDriver::BlockCopied { block: block(), to: member(2), kept: false };
    Leaving => ToDriver::Leaving;
    NoticeLost => ToDriver::NoticeLost { batch: BatchNumber(5), reader: member(2) };
});

samples!(BulkRequest {
    Fetch =>
        BulkRequest::Fetch { key: output(), credit: None },
        BulkRequest::Fetch { key: DataKey::Block(block()), credit: Some(65_536) };
    Store =>
        BulkRequest::Store { block: block(), pieces: 2, bytes: None },
        BulkRequest::Store { block: block(), pieces: 2, bytes: Some(100_000) };
    Piece => BulkRequest::Piece(piece());
    Packed => BulkRequest::Packed(packed());
    Notice =>
        BulkRequest::Notice(Notice {
            epoch: Epoch(7), from: member(1), to: member(2), task: task(),
            outputs: vec![OutputInfo { partition: PartitionId(2), rows: 3, bytes: 400 }],
            brought: vec![BroughtOutput { partition: PartitionId(2), pieces: vec![piece()] }],
        });
});

samples!(BulkReply {
    Piece => BulkReply::Piece(piece());
    End => BulkReply::End { pieces: 1 };
    Stored => BulkReply::Stored;
    NotHere => BulkReply::NotHere;
    Full => BulkReply::Full;
    Packed => BulkReply::Packed(packed());
    Needs => BulkReply::Needs { bytes: 1 << 20 };
    Credit => BulkReply::Credit;
    Unsendable => BulkReply::Unsendable { reason: "too long".to_string() };
    Noted => BulkReply::Noted;
});

samples!(JoinRequest {
    Join =>
        JoinRequest::Join { secret: Secret([7; 32]), public_key: [9; 32], nodes: Some(2) },
        JoinRequest::Join { secret: Secret([7; 32]), public_key: [9; 32], nodes: None };
    Renew => JoinRequest::Renew { public_key: [9; 32] };
});

samples!(JoinReply {
    Joined =>
        JoinReply::Joined {
            chain: vec![CertificateBytes(vec![0x30, 3, 2, 1, 1]), CertificateBytes(vec![0x30, 0])],
            cluster: "0123456789abcdef.tidemill".to_string(), nodes: vec![NodeId(1), NodeId(2)],
        };
    Refused =>
        JoinReply::Refused(JoinRefusal::Unknown),
        JoinReply::Refused(JoinRefusal::TooMany(2)),
        JoinReply::Refused(JoinRefusal::Denied(NodeId(3)));
});

samples!(Request {
    Program => Request::Program;
    Status => Request::Status;
});

samples!(Reply {
    Program =>
        Reply::Program(ProgramFacts {
            settings: vec![NamedValue { name: "block_interval_ms".to_string(), value: "200".to_string() }],
            parameters: vec![NamedValue { name: "from".to_string(), value: "10.0.0.9:9999".to_string() }],
        });
    Status =>
        Reply::Status(vec![
            StatusEntry::Driver { program: "00000000feedf00d".to_string(), state: "running".to_string() },
            StatusEntry::Executor {
                member: member(1), slots: 4, bulk_address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 7001))),
            },
            StatusEntry::Receiver {
                receiver: receiver(), stream: "lines".to_string(), on: member(1), records_per_s: 20_000.0,
                permitted_records_per_s: Some(40_000),
            },
            StatusEntry::Batch {
                batch: BatchNumber(5), records: 10_000, scheduling_delay_ms: 0.5, processing_ms: 12.5,
                total_delay_ms: 13.0,
            },
            StatusEntry::Actor {
                path: "node-0/driver/node".to_string(), state: "running".to_string(), restarts: 1, mailbox_depth: 0,
                last_exit: Some("failed: struck".to_string()),
            },
        ]);
    Refused => Reply::Refused("a node may not ask for the status".to_string());
});

impl Hello {
    /// An example, the same in every build.
    #[must_use]
    pub fn samples() -> Vec<Self> {
        vec![Hello { member: member(1), epoch: Epoch(7), program: ProgramId(0xfeed_f00d) }]
    }
}

fn member(node: u16) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(2) }
}

fn receiver() -> ReceiverId {
    ReceiverId { stream: StreamId(1), index: ReceiverIndex(0), incarnation: Incarnation(3) }
}

fn block() -> BlockId {
    BlockId { receiver: receiver(), sequence: 300 }
}

fn task() -> TaskId {
    let key = TaskKey { batch: BatchNumber(5), stage: StageId(1), partition: PartitionId(2) };
    TaskId { key, attempt: Attempt(1) }
}

fn output() -> DataKey {
    DataKey::Output { task: task(), partition: PartitionId(9) }
}

/// Eight times the byte 7, then as often the last one.
fn packed() -> PackedPiece {
    PackedPiece {
        rows: 3,
        dataset: DatasetId(4),
        bytes_unpacked: 8,
        packed: vec![0x80, 7, 7, 7, 7, 7, 7, 7, 7].into(),
    }
}

fn piece() -> Piece {
    Piece { rows: 3, dataset: DatasetId(4), bytes: vec![0x93, 1, 2, 3].into() }
}
