//! The table of proofs, with real sockets that the other side closes.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use super::*;

/// A listener, whose connections are handed out with both ends.
struct Place {
    listener: TcpListener,
    address: SocketAddr,
}

impl Place {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    fn connect(&self) -> (TcpStream, TcpStream) {
        let ours = TcpStream::connect(self.address).unwrap();
        (ours, self.listener.accept().unwrap().0)
    }
}

fn attempt(proofs: &Proofs, address: SocketAddr, socket: &TcpStream) -> Attempt {
    match proofs.admit(address, socket.as_raw_fd()) {
        Admission::Prove(attempt) => attempt,
        _ => panic!("there is a proof, or a failure, or one under way"),
    }
}

fn admitted(proofs: &Proofs, address: SocketAddr, socket: &TcpStream) -> Witness {
    match proofs.admit(address, socket.as_raw_fd()) {
        Admission::Admitted(Some(witness)) => witness,
        _ => panic!("there is no proof"),
    }
}

/// Waits until the other side's close has arrived.
fn until_closed(mut ours: &TcpStream) {
    assert_eq!(ours.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn the_proof_lasts_as_long_as_a_connection_that_was_made_under_it() {
    let (place, proofs) = (Place::new(), Proofs::new(1));
    let (first, first_there) = place.connect();
    let proved = attempt(&proofs, place.address, &first).succeed(first.as_raw_fd());
    let (second, second_there) = place.connect();
    let under_it = admitted(&proofs, place.address, &second);
    drop(first_there);
    until_closed(&first);
    // Nobody on this side has closed or read the first; the second still keeps the proof.
    let (third, _third_there) = place.connect();
    drop(admitted(&proofs, place.address, &third));
    drop(second_there);
    until_closed(&second);
    drop(attempt(&proofs, place.address, &third));
    drop((proved, under_it));
}

#[test]
fn a_connection_that_we_close_keeps_no_proof() {
    let (place, proofs) = (Place::new(), Proofs::new(1));
    let (first, _there) = place.connect();
    drop(attempt(&proofs, place.address, &first).succeed(first.as_raw_fd()));
    drop(attempt(&proofs, place.address, &first));
}

#[test]
fn the_proof_of_one_address_is_not_anothers() {
    let (here, there, proofs) = (Place::new(), Place::new(), Proofs::new(1));
    let (first, _first_there) = here.connect();
    let _proved = attempt(&proofs, here.address, &first).succeed(first.as_raw_fd());
    let (second, _second_there) = there.connect();
    drop(attempt(&proofs, there.address, &second));
}

#[tokio::test]
async fn one_proof_is_had_at_a_time_and_all_others_wait_for_it() {
    let (place, proofs) = (Place::new(), Proofs::new(1));
    let (first, _first_there) = place.connect();
    let (second, _second_there) = place.connect();
    let attempt = attempt(&proofs, place.address, &first);
    let Admission::Wait(settled) = proofs.admit(place.address, second.as_raw_fd()) else {
        panic!("a second proof is under way at the same time")
    };
    let _proved = attempt.succeed(first.as_raw_fd());
    settled.await;
    drop(admitted(&proofs, place.address, &second));
}

#[tokio::test]
async fn a_proof_that_is_given_up_is_anothers_to_have() {
    let (place, proofs) = (Place::new(), Proofs::new(1));
    let (first, _there) = place.connect();
    let given_up = attempt(&proofs, place.address, &first);
    let Admission::Wait(settled) = proofs.admit(place.address, first.as_raw_fd()) else {
        panic!("a second proof is under way at the same time")
    };
    drop(given_up);
    settled.await;
    drop(attempt(&proofs, place.address, &first));
}

#[test]
fn a_failure_answers_for_a_moment_only_for_its_address() {
    let (place, proofs) = (Place::new(), Proofs::new(1));
    let (first, _there) = place.connect();
    let foreign = ProofError::Foreign { theirs: 2, ours: 1 };
    attempt(&proofs, place.address, &first).fail(foreign.clone());
    let Admission::Refused(why) = proofs.admit(place.address, first.as_raw_fd()) else {
        panic!("it is asked again at once")
    };
    assert_eq!((&why, proofs.recent_failure().as_ref()), (&foreign, Some(&foreign)));
    std::thread::sleep(FAILURE_STANDS);
    assert_eq!(proofs.recent_failure(), None);
    drop(attempt(&proofs, place.address, &first));
}

#[test]
fn what_is_forgotten_is_proved_anew_while_connections_go_on() {
    let (place, proofs) = (Place::new(), Proofs::new(1));
    let (first, _there) = place.connect();
    let proved = attempt(&proofs, place.address, &first).succeed(first.as_raw_fd());
    proofs.forget();
    let (second, _second_there) = place.connect();
    let again = attempt(&proofs, place.address, &second).succeed(second.as_raw_fd());
    drop(proved);
    let (third, _third_there) = place.connect();
    drop(admitted(&proofs, place.address, &third));
    drop(again);
}

#[test]
fn a_proxy_that_lets_nobody_through_just_now_says_nothing_of_who_is_behind_it() {
    let passing: Vec<u16> = (200..600).filter(|status| is_passing(*status)).collect();
    assert_eq!(passing, [429, 502, 503, 504]);
}
