//! Standard input through the control socket.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use legwork_shim::control::{FRAME_MAX, Reply, Request};
use legwork_shim::exit::Status;
use legwork_shim::layout;
use legwork_shim::spec::{Spec, Stdin};

use crate::harness::{Job, Peer, script, spec, until};

fn piped(mut spec: Spec) -> Job {
    spec.stdin = Stdin::Pipe;
    Job::start(&spec)
}

fn bytes(offset: u64, data: &[u8]) -> Request {
    Request::Stdin {
        offset,
        data: data.to_vec(),
    }
}

#[test]
fn cat_gets_every_byte_and_then_the_end() {
    let mut job = piped(spec(&["cat"]));
    let data: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut peer = job.control();
    let mut offset = 0;
    for chunk in data.chunks(FRAME_MAX - 10) {
        let end = offset + chunk.len() as u64;
        assert_eq!(peer.ask(&bytes(offset, chunk)), Reply::StdinTaken(end));
        offset = end;
    }
    assert_eq!(peer.ask(&Request::StdinEnd), Reply::Done);
    assert_eq!(job.exit().status, Some(Status::Code(0)));
    assert!(job.output() == data);
}

#[test]
fn the_socket_is_there_from_the_start_and_is_private() {
    let job = piped(spec(&["cat"]));
    let socket = std::fs::symlink_metadata(job.path().join(layout::CONTROL)).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

#[test]
fn another_connection_goes_on_where_the_last_one_was() {
    let mut job = piped(spec(&["cat"]));
    let mut first = job.control();
    assert_eq!(first.ask(&bytes(0, b"one two")), Reply::StdinTaken(7));
    drop(first);
    let mut second = job.control();
    // It does not know how much arrived, so it says all of it again.
    assert_eq!(
        second.ask(&bytes(0, b"one two three")),
        Reply::StdinTaken(13)
    );
    assert_eq!(second.ask(&bytes(4, b"two")), Reply::StdinTaken(13));
    assert_eq!(second.ask(&bytes(20, b"gap")), Reply::Failed(libc::EINVAL));
    assert_eq!(second.ask(&Request::StdinEnd), Reply::Done);
    job.exit();
    assert_eq!(job.output(), b"one two three");
}

/// Sends frames until the socket takes no more; gives back how many bytes it took.
fn flood(peer: &mut Peer, frame: &[u8]) -> usize {
    let mut sent = 0;
    peer.0.set_nonblocking(true).expect("a socket can");
    until("back-pressure", || {
        let rest = &frame[sent % frame.len()..];
        match peer.0.write(rest) {
            Ok(written) => {
                sent += written;
                None
            }
            Err(e) => {
                assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock);
                Some(())
            }
        }
    });
    peer.0.set_nonblocking(false).expect("a socket can");
    sent
}

#[test]
fn a_payload_that_does_not_read_holds_the_sender_back_and_nobody_else() {
    let here = tempfile::tempdir().unwrap();
    let mut spec = script("while ! [ -e go ]; do sleep 0.01; done; wc -c");
    spec.dir = here.path().into();
    let mut job = piped(spec);
    let mut peer = job.control();
    // The pipe takes a part of the first frame and the shim keeps the rest of it.
    peer.send(&bytes(0, &[b'x'; 200_000]));
    let repeat = bytes(0, &[b'x'; 200_000]).encode();
    let sent = flood(&mut peer, &repeat);
    assert!(sent < 4 << 20, "{sent} bytes were buffered somewhere");
    // Others are still heard.
    assert_eq!(job.control().ask(&Request::Signal(0)), Reply::Done);
    std::fs::write(here.path().join("go"), "").unwrap();
    assert_eq!(peer.answer(), Reply::StdinTaken(200_000));
    // What was cut off by the full socket is completed, and all of it is skipped as a repeat.
    peer.0.write_all(&repeat[sent % repeat.len()..]).unwrap();
    for _ in 0..sent.div_ceil(repeat.len()) {
        assert_eq!(peer.answer(), Reply::StdinTaken(200_000));
    }
    if sent.is_multiple_of(repeat.len()) {
        assert_eq!(peer.answer(), Reply::StdinTaken(200_000));
    }
    assert_eq!(peer.ask(&Request::StdinEnd), Reply::Done);
    job.exit();
    assert_eq!(job.output(), b"200000\n");
}

#[test]
fn a_sender_that_has_left_is_still_read_to_its_end() {
    let here = tempfile::tempdir().unwrap();
    let mut spec = script("while ! [ -e go ]; do sleep 0.01; done; wc -c");
    spec.dir = here.path().into();
    let mut job = piped(spec);
    let mut peer = job.control();
    peer.send(&bytes(0, &[b'x'; 150_000]));
    drop(peer);
    std::fs::write(here.path().join("go"), "").unwrap();
    let mut next = job.control();
    until("the first sender's bytes", || {
        (next.ask(&bytes(0, b"x")) == Reply::StdinTaken(150_000)).then_some(())
    });
    assert_eq!(next.ask(&Request::StdinEnd), Reply::Done);
    job.exit();
    assert_eq!(job.output(), b"150000\n");
}

#[test]
fn a_payload_that_closes_its_input_is_noticed() {
    let mut job = piped(script("exec 0<&-; echo closed; exec sleep 1000"));
    job.lines(1);
    let mut peer = job.control();
    assert_eq!(peer.ask(&bytes(0, b"x")), Reply::StdinClosed);
    assert_eq!(peer.ask(&Request::StdinEnd), Reply::Done);
    assert_eq!(peer.ask(&Request::Signal(libc::SIGKILL)), Reply::Done);
    assert_eq!(job.exit().status, Some(Status::Signal(9)));
}

#[test]
fn without_a_pipe_there_is_an_end_of_file_and_a_refusal() {
    let mut job = Job::start(&script("wc -c; exec sleep 1000"));
    assert_eq!(job.lines(1), ["0"]);
    let mut peer = job.control();
    assert_eq!(peer.ask(&bytes(0, b"x")), Reply::StdinClosed);
    assert_eq!(peer.ask(&Request::StdinEnd), Reply::StdinClosed);
    peer.ask(&Request::Signal(libc::SIGKILL));
    job.exit();
}

#[test]
fn nonsense_costs_its_sender_the_connection_and_nothing_else() {
    let mut job = piped(spec(&["cat"]));
    let mut good = job.control();
    assert_eq!(good.ask(&bytes(0, b"a")), Reply::StdinTaken(1));
    let malformed_stop = [4, 0, 0, 0, 4, 0, b'{', b'}'];
    let short_stdin = [3, 0, 0, 0, 1, 0, 7];
    for nonsense in [
        &[0, 0, 0, 0, 0, 0][..],
        &[0xff; 64],
        &malformed_stop,
        &short_stdin,
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut bad = job.control();
        bad.0.write_all(nonsense).unwrap();
        assert!(bad.is_closed());
    }
    let mut newer = job.control();
    newer.0.write_all(&[2, 0, 0, 0, 0x77, 0]).unwrap();
    assert_eq!(newer.answer(), Reply::Unsupported);
    // A frame may come in pieces.
    for byte in bytes(1, b"bc").encode() {
        good.0.write_all(&[byte]).unwrap();
    }
    assert_eq!(good.answer(), Reply::StdinTaken(3));
    assert_eq!(newer.ask(&Request::StdinEnd), Reply::Done);
    job.exit();
    assert_eq!(job.output(), b"abc");
}

#[test]
fn more_connections_than_there_is_room_for_do_not_keep_a_stop_out() {
    let mut job = piped(script("exec sleep 1000"));
    let mut waiting: Vec<Peer> = Vec::new();
    for _ in 0..40 {
        let mut peer = job.control();
        peer.send(&bytes(0, &[b'x'; 100_000]));
        waiting.push(peer);
    }
    assert_eq!(
        job.control().ask(&Request::Signal(libc::SIGKILL)),
        Reply::Done
    );
    assert_eq!(job.exit().status, Some(Status::Signal(9)));
}
