//! Where messages of one type can be sent: cheap to clone, usable from any thread, and good over restarts.

use super::{
    actor::Message,
    mailbox::{Lane, Letter, ReplyTo},
};
use std::{
    fmt,
    pin::{Pin, pin},
    sync::{Arc, mpsc},
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{Notify, oneshot};

/// Why a message was not queued; the message comes back.
#[derive(thiserror::Error)]
pub enum SendError<M> {
    /// The lane is full. Retryable, once the actor has read some.
    #[error("the mailbox is full")]
    Full(M),
    /// The actor has ended for good. Not retryable.
    #[error("the actor is gone")]
    Gone(M),
}

impl<M> SendError<M> {
    /// The message that was not sent.
    pub fn into_message(self) -> M {
        match self {
            SendError::Full(message) | SendError::Gone(message) => message,
        }
    }

    /// Whether it may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, SendError::Full(_))
    }
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_retryable() { "Full(..)" } else { "Gone(..)" })
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The lane is full; the question was not queued. Retryable.
    #[error("the mailbox is full")]
    Full,
    /// The actor has ended for good; the question was not queued.
    #[error("the actor is gone")]
    Gone,
    /// The actor ended with the question, panicked on it, or dropped its responder. Whether it took effect is unknown,
    /// and it is not asked again.
    #[error("the actor ended before it answered")]
    Lost,
    /// No answer in time; the question may still be handled.
    #[error("no answer in time")]
    TimedOut,
}

/// Why a queue refuses.
pub(crate) enum Refusal {
    Full,
    Gone,
}

/// A refused letter, and why.
pub(crate) type Refused<M> = (Refusal, Letter<M>);

/// A queue that takes messages of type `M`, whoever reads it.
pub(crate) trait Deliver<M: Message>: Send + Sync {
    fn push(&self, lane: Lane, letter: Letter<M>) -> Result<(), Refused<M>>;
    fn room(&self) -> &Notify;
    fn depth(&self) -> usize;
    fn is_open(&self) -> bool;
}

/// Sends messages of type `M` to one actor.
pub struct Address<M: Message>(Arc<dyn Deliver<M>>);

impl<M: Message> Clone for Address<M> {
    fn clone(&self) -> Self {
        Address(self.0.clone())
    }
}

impl<M: Message> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address<{}>", std::any::type_name::<M>())
    }
}

impl<M: Message> Address<M> {
    pub(crate) fn new(queue: Arc<dyn Deliver<M>>) -> Self {
        Address(queue)
    }

    fn push(&self, lane: Lane, message: M) -> Result<(), SendError<M>> {
        self.0.push(lane, Letter { message, reply_to: ReplyTo::Nobody }).map_err(|(refusal, letter)| {
            match refusal {
                Refusal::Full => SendError::Full(letter.message),
                Refusal::Gone => SendError::Gone(letter.message),
            }
        })
    }

    /// Queues `message` in the data lane, now or not at all.
    ///
    /// # Errors
    /// [`SendError::Full`] or [`SendError::Gone`], with the message.
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        self.push(Lane::Data, message)
    }

    /// Queues `message` in the data lane and waits for room if there is none. Dropped while it waits, nothing was sent.
    ///
    /// # Errors
    /// Only [`SendError::Gone`].
    pub async fn send(&self, message: M) -> Result<(), SendError<M>> {
        let letter = Letter { message, reply_to: ReplyTo::Nobody };
        self.push_when_there_is_room(letter).await.map_err(|letter| SendError::Gone(letter.message))
    }

    /// The letter comes back if the actor is gone.
    async fn push_when_there_is_room(&self, letter: Letter<M>) -> Result<(), Letter<M>> {
        let mut unsent = match self.0.push(Lane::Data, letter) {
            Ok(()) => return Ok(()),
            Err((Refusal::Gone, letter)) => return Err(letter),
            Err((Refusal::Full, letter)) => letter,
        };
        loop {
            let mut room = pin!(self.0.room().notified());
            // In line before the look, so that room made between the two is not missed.
            room.as_mut().enable();
            match self.0.push(Lane::Data, unsent) {
                Ok(()) => return Ok(()),
                Err((Refusal::Gone, letter)) => return Err(letter),
                Err((Refusal::Full, letter)) => unsent = letter,
            }
            room.await;
        }
    }

    /// Queues `message` in the control lane, which is read first and whose credit is kept for such messages. Never waits.
    ///
    /// # Errors
    /// [`SendError::Full`] or [`SendError::Gone`], with the message.
    pub fn tell_control(&self, message: M) -> Result<(), SendError<M>> {
        self.push(Lane::Control, message)
    }

    /// Sends `message` in the data lane, waiting for room, and waits for the answer.
    ///
    /// # Errors
    /// [`AskError::Gone`] or [`AskError::Lost`].
    pub async fn ask(&self, message: M) -> Result<M::Reply, AskError> {
        let (asker, answer) = oneshot::channel();
        let letter = Letter { message, reply_to: ReplyTo::Task(asker) };
        self.push_when_there_is_room(letter).await.map_err(|_| AskError::Gone)?;
        answer.await.map_err(|_| AskError::Lost)
    }

    /// Sends `message` in the control lane and waits for the answer.
    ///
    /// # Errors
    /// [`AskError::Full`], [`AskError::Gone`] or [`AskError::Lost`].
    pub async fn ask_control(&self, message: M) -> Result<M::Reply, AskError> {
        let (asker, answer) = oneshot::channel();
        self.0.push(Lane::Control, Letter { message, reply_to: ReplyTo::Task(asker) }).map_err(refused)?;
        answer.await.map_err(|_| AskError::Lost)
    }

    /// Asks from a plain thread (a task slot), through the data lane, and blocks for at most `patience` of real time. Never
    /// to be called on the thread of the actors: nobody could answer.
    ///
    /// # Errors
    /// Any [`AskError`]; it does not wait for room.
    pub fn ask_blocking(&self, message: M, patience: Duration) -> Result<M::Reply, AskError> {
        let (asker, answer) = mpsc::sync_channel(1);
        self.0.push(Lane::Data, Letter { message, reply_to: ReplyTo::Thread(asker) }).map_err(refused)?;
        answer.recv_timeout(patience).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => AskError::TimedOut,
            mpsc::RecvTimeoutError::Disconnected => AskError::Lost,
        })
    }

    /// Messages of all types that wait in the actor's mailbox.
    pub fn depth(&self) -> usize {
        self.0.depth()
    }

    /// Whether the actor runs or may run again.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }
}

fn refused<M: Message>((refusal, _): Refused<M>) -> AskError {
    match refusal {
        Refusal::Full => AskError::Full,
        Refusal::Gone => AskError::Gone,
    }
}

/// The right to answer once, later and from anywhere. Put it into a message: its handler keeps it, and answers when it can.
/// Dropped without an answer, it tells the asker [`AskError::Lost`].
#[derive(Debug)]
pub struct Responder<R>(oneshot::Sender<R>);

/// The other end of a [`Responder`]: a future of the answer.
#[derive(Debug)]
pub struct Answer<R>(oneshot::Receiver<R>);

/// A responder and the answer it will give.
pub fn responder<R>() -> (Responder<R>, Answer<R>) {
    let (asker, answer) = oneshot::channel();
    (Responder(asker), Answer(answer))
}

impl<R> Responder<R> {
    /// Answers. Nothing happens if the asker has gone away.
    pub fn answer(self, reply: R) {
        let _ = self.0.send(reply);
    }
}

impl<R> Future for Answer<R> {
    type Output = Result<R, AskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| AskError::Lost)
    }
}
