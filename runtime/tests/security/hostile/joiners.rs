//! Those who come to the join port: with tokens that are good for nothing, with requests that are none, with other versions and
//! certificates, with nothing to say, and too often.

use super::{
    Papers, Tally,
    clients::{End, client},
    stranger,
    watch::count,
};
use crate::support::{DEADLINE, Folder};
use futures_util::future::join_all;
use std::{fs, net::SocketAddr, time::Duration};
use tidemill_protocol::{
    codec::{self, Limits},
    endpoint::{
        ALPN, Identity, JOIN_ALPN,
        join::{JoinError, join},
    },
    identity::{Authority, Token},
    message::{JOIN_BYTES_MAX, JoinRefusal, JoinReply, JoinRequest, Secret},
    world::World,
};

/// How often each kind must strike.
const EACH: u64 = 5;
/// How often the last one asks, who does not wait.
const HAMMER: usize = 100;

/// What somebody gets.
#[derive(Debug, PartialEq)]
enum Answer {
    Refused(JoinRefusal),
    Ended(End),
}

/// A kind of attempt: what the product calls it, who comes, with which bytes, and what it must get.
struct Kind {
    called: &'static str,
    from: quinn::Endpoint,
    request: Option<Vec<u8>>,
    gets: Answer,
}

/// What it is called, what is shown, which protocol is spoken, what is asked, and what it must get.
type Row<'a> = (&'static str, Option<&'a Identity>, &'static [u8], Option<Vec<u8>>, Answer);

pub struct Joiners {
    port: SocketAddr,
    kinds: Vec<Kind>,
    /// Of another cluster.
    foreign: Token,
}

const UNKNOWN: &str = "a token that is unknown here";
const EXPIRED: &str = "a token that has expired";
const USED: &str = "a token that has been used";
const TOO_MANY: &str = "more executors than the token is for";
const RENEWAL: &str = "a renewal without a node's certificate";
const NO_REQUEST: &str = "what is not a request";
const VERSION: &str = "another version of the protocol";
const AUTHORITY: &str = "a certificate of another authority";
const TOO_LATE: &str = "a joiner that took too long";
const TOO_OFTEN: &str = "too many attempts a second from one machine";

/// Whether whoever asks hears of it, so that it can be counted on both sides.
pub fn is_told_by_reply(kind: &str) -> bool {
    [UNKNOWN, EXPIRED, USED, TOO_MANY, RENEWAL].contains(&kind)
}

impl Joiners {
    pub fn new(folder: &Folder, papers: &Papers, authority: &Authority, port: SocketAddr) -> Self {
        let (now, hour) = (World::real().clock.wall(), Duration::from_secs(3_600));
        let elsewhere = Authority::open(&folder.path("foreign"), now).unwrap();
        let used: Token = fs::read_to_string(folder.path("one.token")).unwrap().trim().parse().unwrap();
        let expired = authority.token(now - hour * 2, hour, 1).unwrap();
        let good = authority.token(now, hour, 1).unwrap();
        let ask = |request: &JoinRequest| Some(codec::encode(request).unwrap());
        let with = |secret: &Secret, nodes: Option<u16>| {
            ask(&JoinRequest::Join { secret: secret.clone(), public_key: [9; 32], nodes })
        };
        let renew = ask(&JoinRequest::Renew { public_key: [9; 32] });
        let refused = Answer::Refused;
        let ended = Answer::Ended;
        let (foreign, stale) = (Some(&papers.foreign), Some(&papers.expired));
        let rubbish = Some(b"GET / HTTP/1.1\r\n\r\n".to_vec());
        let too_long = Some(vec![0; JOIN_BYTES_MAX + 1_000]);
        let rows: [Row; 13] = [
            (UNKNOWN, None, JOIN_ALPN, with(&Secret([1; 32]), None), refused(JoinRefusal::Unknown)),
            (USED, None, JOIN_ALPN, with(&used.secret, None), refused(JoinRefusal::Used)),
            (EXPIRED, None, JOIN_ALPN, with(&expired.secret, None), refused(JoinRefusal::Expired)),
            (TOO_MANY, None, JOIN_ALPN, with(&good.secret, Some(9)), refused(JoinRefusal::TooMany(1))),
            (RENEWAL, None, JOIN_ALPN, renew.clone(), refused(JoinRefusal::NoCertificate)),
            (NO_REQUEST, None, JOIN_ALPN, rubbish, ended(End::Closed(1))),
            (NO_REQUEST, None, JOIN_ALPN, too_long, ended(End::Closed(1))),
            (VERSION, None, b"tidemill-join/2", None, ended(End::Alert(120))),
            (VERSION, None, b"tidemill-join/0", None, ended(End::Alert(120))),
            (VERSION, None, ALPN, None, ended(End::Alert(120))),
            (AUTHORITY, foreign, JOIN_ALPN, renew.clone(), ended(End::Alert(48))),
            ("a certificate that has expired", stale, JOIN_ALPN, renew, ended(End::Alert(45))),
            (TOO_LATE, None, JOIN_ALPN, None, ended(End::Closed(0))),
        ];
        let kinds = (60..).zip(rows).map(|(number, (called, shown, alpn, request, gets))| {
            let from = client(number, shown, alpn);
            Kind { called, from, request, gets }
        });
        Joiners { port, kinds: kinds.collect(), foreign: elsewhere.token(now, hour, 1).unwrap() }
    }

    /// Each kind comes until it has struck often enough; gives how often.
    pub async fn come(self) -> Tally {
        let mut tally = Tally::new();
        let kinds = self.kinds.iter().map(|kind| async { (kind.called, strike(kind, self.port).await) });
        for (called, struck) in join_all(kinds).await {
            count(&mut tally, "join", called, struck);
        }
        let world = World::real();
        for _ in 0..EACH {
            let refused = join(&world, stranger(80), self.port, &self.foreign, None, DEADLINE).await;
            // The joiner ends it, and the driver is told why.
            assert!(matches!(refused, Err(JoinError::WrongAuthority(_))), "{refused:?}");
            count(&mut tally, "join", AUTHORITY, 1);
        }
        let hammer = client(81, None, b"tidemill-join/2");
        let knock = || hammer.connect(self.port, "driver.tidemill").unwrap();
        let asked = (0..HAMMER).map(|_| async { knock().await });
        let refused = |error: &quinn::ConnectionError| matches!(error, quinn::ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) == 2);
        let ends = join_all(asked).await;
        let turned_away = ends.iter().filter(|end| end.as_ref().is_err_and(refused)).count() as u64;
        assert!(turned_away >= 20, "{turned_away} of {HAMMER} were turned away");
        println!("{turned_away} of {HAMMER} at once were turned away at the join port");
        count(&mut tally, "join", TOO_OFTEN, 1);
        tally
    }
}

/// Comes again and again; gives how often it got what its kind must get.
async fn strike(kind: &Kind, port: SocketAddr) -> u64 {
    let clock = World::real().clock;
    let deadline = clock.now() + DEADLINE;
    // One that says nothing holds its place for 5 s.
    let each = if kind.called == TOO_LATE { 1 } else { EACH };
    let mut struck = 0;
    while struck < each {
        let answer = ask(kind, port).await;
        struck += u64::from(answer == kind.gets);
        assert!(
            answer == kind.gets || answer == Answer::Ended(End::Otherwise),
            "{} gets {answer:?} and not {:?}",
            kind.called,
            kind.gets
        );
        assert!(clock.now() < deadline, "{} has struck {struck} times", kind.called);
    }
    struck
}

async fn ask(kind: &Kind, port: SocketAddr) -> Answer {
    let limits = Limits { bytes: JOIN_BYTES_MAX, depth: 8, elements: 256 };
    let connection = match kind.from.connect(port, "driver.tidemill").unwrap().await {
        Ok(connection) => connection,
        Err(error) => return Answer::Ended(End::of(&error)),
    };
    if let Some(request) = &kind.request
        && let Ok((mut send, mut recv)) = connection.open_bi().await
    {
        let _ = send.write_all(request).await;
        let _ = send.finish();
        if let Ok(bytes) = recv.read_to_end(JOIN_BYTES_MAX).await {
            return match codec::decode(&bytes, &limits) {
                Ok(JoinReply::Refused(refusal)) => Answer::Refused(refusal),
                other => panic!("{}: {other:?}", kind.called),
            };
        }
    }
    Answer::Ended(End::of(&connection.closed().await))
}
