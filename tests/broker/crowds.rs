//! One client never stops another.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Broker, GAMES, NOBODY, as_user, target_of, wait_until};
use crate::rights::{ASKER, ask};
use crate::support::{assert_untouched, status};

/// A client of games' that stays; and the first that it says.
fn stays(broker: &Broker, arguments: &[&str]) -> (Child, Value) {
    let mut command = as_user(GAMES, "/usr/bin/python3");
    command.arg("-c").arg(ASKER).arg(broker.socket()).args(arguments).stdout(Stdio::piped());
    let mut client = command.spawn().expect("python3 is there");
    let mut line = String::new();
    BufReader::new(client.stdout.take().expect("piped")).read_line(&mut line).expect("it speaks");
    (client, serde_json::from_str(&line).expect("JSON"))
}

fn end(mut client: Child) {
    client.kill().expect("ours");
    client.wait().expect("ours");
}

#[test]
fn who_reads_no_answer_waits_alone_and_is_dismissed() {
    let broker = Broker::start("");
    let own = target_of(NOBODY);
    let (client, _) = stays(&broker, &["mute"]);
    let report = broker.snapshot_as(NOBODY, own.pid());
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
    wait_until("it is dismissed", || broker.clerks().is_empty());
    assert_ne!(status(client.id(), "State"), "", "it runs, and was not waited for");
    end(client);
    assert_untouched(own.pid());
}

#[test]
fn a_user_who_has_all_the_connections_that_one_may_have_takes_none_from_others() {
    let broker = Broker::start("");
    let own = target_of(NOBODY);
    let (client, served) = stays(&broker, &["crowd", "40"]);
    let served = served.as_u64().expect("a number");
    assert!((1..=16).contains(&served), "{served}");
    assert!(broker.clerks().len() <= 16);
    let report = broker.snapshot_as(NOBODY, own.pid());
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
    end(client);
    wait_until("their processes have ended", || broker.clerks().is_empty());
}

#[test]
fn an_answer_that_does_not_fit_into_a_message_comes_in_several() {
    let broker = Broker::start("");
    let roots = target_of(0);
    let answer =
        &ask(as_user(GAMES, "/usr/bin/python3"), &broker, &["many", &roots.pid().to_string(), "1000"])[0];
    assert_eq!((answer["words"].as_u64(), answer["refused"].as_u64()), (Some(1000), Some(1000)));
    let lengths: Vec<u64> = serde_json::from_value(answer["lengths"].clone()).expect("numbers");
    assert!(lengths.len() > 1 && lengths.iter().all(|length| *length <= 64 << 10), "{lengths:?}");
}

/// The process of a client that is killed takes nothing with it.
#[test]
fn the_death_of_a_clients_process_is_that_clients_alone() {
    let broker = Broker::start("");
    let own = target_of(NOBODY);
    let (client, _) = stays(&broker, &["crowd", "3"]);
    let clerks = broker.clerks();
    assert_eq!(clerks.len(), 3);
    for clerk in clerks {
        let pid = nix::unistd::Pid::from_raw(clerk.cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
    }
    wait_until("they are waited for", || broker.clerks().is_empty());
    assert!(broker.snapshot_as(NOBODY, own.pid()).status.success());
    end(client);
    std::thread::sleep(Duration::from_millis(10));
    assert_untouched(own.pid());
}
