//! What each user may take of the broker, whatever number of connections it comes by: connections, requests, attaches at the same time,
//! and lines of the log about what was refused to them. What is attached to is always written.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Connections at the same time, of all users and of one.
const CLIENTS: usize = 128;
const CLIENTS_OF_ONE: usize = 16;
/// Attaches that are being done at the same time for one user.
const ATTACHES_OF_ONE: usize = 4;
/// What a user may ask at once after a pause, and how much of that comes back in a second.
const BURST: f64 = 60.0;
const PER_SECOND: f64 = 10.0;
/// Refusals that are written one by one after a pause, and how many more in a second.
const LINES: f64 = 30.0;
const LINES_PER_SECOND: f64 = 0.1;
/// When to ask again where others of the same user have to be done first.
const TURN: Duration = Duration::from_millis(100);

/// Not now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limited {
    pub reason: String,
    /// When it is worth asking again.
    pub again: Duration,
    /// Whether this user was not held back before, so that it is worth a word in the log.
    pub newly: bool,
}

#[derive(Debug)]
struct Account {
    clients: usize,
    attaches: usize,
    allowance: f64,
    lines: f64,
    /// Refusals that were not written one by one since the last one that was.
    unwritten: u64,
    since: Instant,
    limited: bool,
}

/// The users that there are.
#[derive(Debug, Default)]
pub(super) struct Accounts(HashMap<u32, Account>);

impl Accounts {
    /// One more connection.
    pub fn enter(&mut self, user: u32, now: Instant) -> Result<(), Limited> {
        let all: usize = self.0.values().map(|account| account.clients).sum();
        let account = self.account(user, now);
        if all >= CLIENTS {
            return Err(account.limited(format!("{CLIENTS} clients are connected already: close one"), TURN));
        }
        if account.clients >= CLIENTS_OF_ONE {
            let reason = format!("user {user} has {CLIENTS_OF_ONE} clients connected already: close one");
            return Err(account.limited(reason, TURN));
        }
        account.spend(1.0)?;
        account.clients += 1;
        Ok(())
    }

    /// A connection has ended.
    pub fn leave(&mut self, user: u32, now: Instant) {
        let account = self.account(user, now);
        account.clients = account.clients.saturating_sub(1);
        // Who is gone and could ask as much as anybody is not remembered.
        self.0.retain(|_, account| {
            account.refill(now);
            let owed = account.allowance < BURST || account.lines < LINES || account.unwritten > 0;
            account.clients > 0 || account.attaches > 0 || owed
        });
    }

    /// A request of this weight.
    pub fn ask(&mut self, user: u32, weight: f64, now: Instant) -> Result<(), Limited> {
        self.account(user, now).spend(weight)
    }

    /// One more attach is going to be done.
    pub fn begin(&mut self, user: u32, now: Instant) -> Result<(), Limited> {
        let account = self.account(user, now);
        if account.attaches >= ATTACHES_OF_ONE {
            let reason = format!("{ATTACHES_OF_ONE} attaches for user {user} are being done already");
            return Err(account.limited(reason, TURN));
        }
        account.attaches += 1;
        Ok(())
    }

    /// Whether a refusal is to be written: how many were not since the last one. None when this one is only counted.
    pub fn line(&mut self, user: u32, now: Instant) -> Option<u64> {
        let account = self.account(user, now);
        if account.lines < 1.0 {
            account.unwritten += 1;
            return None;
        }
        account.lines -= 1.0;
        Some(std::mem::take(&mut account.unwritten))
    }

    /// It is done.
    pub fn end(&mut self, user: u32, now: Instant) {
        let account = self.account(user, now);
        account.attaches = account.attaches.saturating_sub(1);
    }

    fn account(&mut self, user: u32, now: Instant) -> &mut Account {
        let account = self.0.entry(user).or_insert(Account {
            clients: 0,
            attaches: 0,
            allowance: BURST,
            lines: LINES,
            unwritten: 0,
            since: now,
            limited: false,
        });
        account.refill(now);
        account
    }
}

impl Account {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_secs_f64();
        self.allowance = (self.allowance + passed * PER_SECOND).min(BURST);
        self.lines = (self.lines + passed * LINES_PER_SECOND).min(LINES);
        self.since = now;
        // Until it has been quiet for a while, it is the same flood.
        self.limited &= self.allowance < BURST / 2.0;
    }

    fn spend(&mut self, weight: f64) -> Result<(), Limited> {
        if self.allowance < weight {
            let again = Duration::from_secs_f64((weight - self.allowance) / PER_SECOND);
            return Err(self.limited(format!("more than {PER_SECOND} requests a second"), again));
        }
        self.allowance -= weight;
        Ok(())
    }

    fn limited(&mut self, reason: String, again: Duration) -> Limited {
        let newly = !self.limited;
        self.limited = true;
        Limited { reason, again, newly }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_of_a_user_get_no_more_than_one_and_others_get_theirs() {
        let (mut accounts, begun) = (Accounts::default(), Instant::now());
        let connections = (0..100).filter(|_| accounts.enter(7, begun).is_ok()).count();
        assert_eq!(connections, CLIENTS_OF_ONE);
        let asked = (0..1000).filter(|_| accounts.ask(7, 1.0, begun).is_ok()).count();
        assert_eq!(asked + connections, BURST as usize);
        assert_eq!((accounts.enter(8, begun), accounts.ask(8, 1.0, begun)), (Ok(()), Ok(())));
        let attaches = (0..100).filter(|_| accounts.begin(7, begun).is_ok()).count();
        assert_eq!((attaches, accounts.begin(8, begun)), (ATTACHES_OF_ONE, Ok(())));
        accounts.end(7, begun);
        assert_eq!(accounts.begin(7, begun), Ok(()));
    }

    #[test]
    fn who_is_held_back_hears_when_to_ask_again_and_a_flood_is_told_once() {
        let (mut accounts, begun) = (Accounts::default(), Instant::now());
        while accounts.ask(7, 1.0, begun).is_ok() {}
        let limited = accounts.ask(7, 1.0, begun).expect_err("held back");
        assert!(!limited.newly, "the first refusal was new");
        let later = begun + limited.again;
        assert_eq!(accounts.ask(7, 1.0, later), Ok(()));
        assert!(!accounts.ask(7, 1.0, later).expect_err("held back").newly);
        let quiet = later + Duration::from_secs(60);
        assert_eq!(
            (0..1000).filter(|_| accounts.ask(7, 1.0, quiet).is_err_and(|limited| limited.newly)).count(),
            1
        );
    }

    #[test]
    fn refusals_of_one_user_are_written_one_by_one_for_a_while_and_then_counted() {
        let (mut accounts, begun) = (Accounts::default(), Instant::now());
        let written = (0..1000).filter(|_| accounts.line(7, begun).is_some()).count();
        assert_eq!((written, accounts.line(8, begun)), (LINES as usize, Some(0)));
        accounts.leave(7, begun);
        let later = begun + Duration::from_secs(11);
        assert_eq!(accounts.line(7, later), Some(1000 - LINES as u64));
        assert_eq!(accounts.line(7, later), None);
    }

    #[test]
    fn who_is_gone_is_forgotten_and_what_is_heavy_counts_for_more() {
        let (mut accounts, begun) = (Accounts::default(), Instant::now());
        accounts.enter(7, begun).expect("the first");
        accounts.ask(7, BURST - 1.0, begun).expect("as much as there is");
        assert!(accounts.ask(7, 1.0, begun).is_err());
        accounts.leave(7, begun);
        assert!(accounts.ask(7, 1.0, begun).is_err(), "coming again gives nothing back");
        accounts.leave(8, begun + Duration::from_secs(600));
        assert!(accounts.0.is_empty());
    }
}
