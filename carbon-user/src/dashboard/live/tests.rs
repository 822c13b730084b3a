//! Readers of events over a real socket.

use super::*;
use crate::agent::{Who, WorkloadTotals};
use crate::metrics::Listen;
use crate::metrics::server::{Limits, Server};
use axum::Extension;
use axum::routing::get;
use futures_util::StreamExt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More than the kernel keeps for a reader (`tcp_wmem` and `tcp_rmem`, 4 and 6 MiB at most unless told otherwise).
const NAME_BYTES: usize = 8_192;

fn published(windows: u64) -> Published {
    let workload = |number: usize| {
        let name = "x".repeat(NAME_BYTES);
        let who = Who { identity: format!("/{number}"), kind: "cgroup", name, ..Who::default() };
        WorkloadTotals { who: Arc::new(who), ..WorkloadTotals::default() }
    };
    Published { windows, workloads: (0..ROWS_MAX).map(workload).collect(), ..Published::default() }
}

/// Asks for events, and gives the connection once the first bytes of them are there.
fn asks(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 400]).unwrap();
    stream
}

#[test]
fn who_stops_reading_is_dropped_and_little_waits_for_him() {
    let published_now = Arc::new(ArcSwap::from_pointee(published(1)));
    let feed = Feed { published: Arc::clone(&published_now), ..Feed::default() };
    let live = Arc::new(Live::new(feed.clone()));
    // Events that were taken from each of two who follow, in their order.
    let taken: Arc<[AtomicUsize; 2]> = Arc::default();
    let (follows, counts, turn) = (Arc::clone(&live), Arc::clone(&taken), AtomicUsize::new(0));
    let turn = Arc::new(turn);
    let events = get(move |Extension(lease): Extension<Lease>| async move {
        let number = turn.fetch_add(1, Ordering::SeqCst);
        let response = Live::follow(&follows, &lease);
        let body = response.into_body().into_data_stream().inspect(move |_| {
            counts[number].fetch_add(1, Ordering::SeqCst);
        });
        Body::from_stream(body)
    });
    let limits = Limits { stall: Duration::from_secs(3), ..Limits::default() };
    let listen = Listen::new("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let server =
        Server::start_with(listen, feed, limits, axum::Router::new().route("/live", events)).unwrap();

    let stalled = asks(server.address());
    let mut reads = asks(server.address());
    assert_eq!(live.room.available_permits(), FOLLOWERS_MAX - 2);
    let reader = std::thread::spawn(move || {
        let (mut bytes, mut length) = (vec![0; 1 << 20], 0);
        while let Ok(count @ 1..) = reads.read(&mut bytes) {
            length += count;
        }
        length
    });
    let mut windows = 1;
    while live.room.available_permits() < FOLLOWERS_MAX - 1 {
        windows += 1;
        assert!(windows < 200, "who reads nothing is kept");
        published_now.store(Arc::new(published(windows)));
        std::thread::sleep(Duration::from_millis(250));
    }
    let [of_stalled, of_reader] = [0, 1].map(|number| taken[number].load(Ordering::SeqCst));
    println!("{windows} windows; taken by who stalls {of_stalled}, by who reads {of_reader}");
    assert!(of_stalled <= 2, "{of_stalled} events of 16 MB wait for who reads none");
    // The other goes on, and gets what comes.
    let before = taken[1].load(Ordering::SeqCst);
    while taken[1].load(Ordering::SeqCst) < before + 2 {
        windows += 1;
        assert!(windows < 400, "who reads is held up");
        published_now.store(Arc::new(published(windows)));
        std::thread::sleep(Duration::from_millis(250));
    }
    drop(server);
    assert!(reader.join().unwrap() > 2 * ROWS_MAX * NAME_BYTES);
    drop(stalled);
    assert_eq!(live.room.available_permits(), FOLLOWERS_MAX);
}
