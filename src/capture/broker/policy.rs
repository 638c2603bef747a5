//! Who may watch whom. Everybody what the kernel lets them look into themselves; what goes beyond that, root writes into a file.
//!
//! The kernel's part is shown, not believed (`proof`). Root's part stands for itself: a list of users is what the kernel would give a
//! debugger of these users, and "any" is everything.
//!
//! ```toml
//! # /etc/memory-glass/policy.toml
//! [[allow]]
//! group = "profilers"       # or user = "wall"
//! targets = ["postgres"]    # processes of these users; "any" is everybody's, root's included, "own" one's own whatever Yama says
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use serde::Deserialize;
use thiserror::Error;

use super::credentials::Credentials;
use super::peer::Rights;
use crate::capture::CaptureError;

/// Where the policy is.
pub const DEFAULT_POLICY: &str = "/etc/memory-glass/policy.toml";

/// The longest policy, bytes.
const MAX_POLICY: u64 = 1 << 20;

/// What root has written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// What is allowed beyond one's own processes; one that fits is enough.
    #[serde(default)]
    pub allow: Vec<Rule>,
}

/// One thing that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// Who: this user,
    pub user: Option<String>,
    /// or the members of this group.
    pub group: Option<String>,
    /// Whose processes.
    pub targets: Targets,
}

/// Whose processes may be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Everybody's.
    Any,
    /// Their own, even where Yama keeps a user's programs from each other.
    Own,
    /// Of users with these names.
    Users(Vec<String>),
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "\"any\", \"own\" or a list of users was expected")]
        enum Written {
            Word(String),
            Users(Vec<String>),
        }
        match Written::deserialize(deserializer)? {
            Written::Word(word) if word == "any" => Ok(Self::Any),
            Written::Word(word) if word == "own" => Ok(Self::Own),
            Written::Word(word) => Err(serde::de::Error::custom(format!(
                "targets = \"{word}\": it is \"any\", \"own\", or a list of users"
            ))),
            Written::Users(users) => Ok(Self::Users(users)),
        }
    }
}

/// Why a policy is not in force. A broker without its policy does not run: it might allow too much or, silently, too little.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// It cannot be read.
    #[error("the policy {} cannot be read ({reason})", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// Others could write into it what they like.
    #[error(
        "the policy {} is not root's alone: chown root it, and take the right to write from group and others",
        path.display()
    )]
    Writable {
        /// The file.
        path: PathBuf,
    },
    /// It is no policy.
    #[error("{}:{line}:{column}: {reason}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Policy {
    /// Reads the file; where there is none, everybody may watch their own processes.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        let unreadable = |reason| PolicyError::Unreadable { path: path.to_owned(), reason };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(unreadable(error)),
        };
        // Of the opened file, not of the name: what is checked is what is read.
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
            return Err(PolicyError::Writable { path: path.to_owned() });
        }
        let mut text = String::new();
        file.take(MAX_POLICY).read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(&text, path)
    }

    /// Reads the text of a policy; `path` is for the words of an error.
    pub fn parse(text: &str, path: &Path) -> Result<Self, PolicyError> {
        let wrong = |at: usize, reason: String| {
            let before = text.get(..at).unwrap_or(text);
            let column = before.rfind('\n').map_or(before, |newline| &before[newline + 1..]).chars().count();
            let line = before.matches('\n').count() + 1;
            PolicyError::Wrong { path: path.to_owned(), line, column: column + 1, reason }
        };
        let policy: Self = toml::from_str(text).map_err(|error| {
            wrong(error.span().map_or(0, |span| span.start), error.message().replace('\n', " "))
        })?;
        for (index, rule) in policy.allow.iter().enumerate() {
            if rule.user.is_some() == rule.group.is_some() {
                let at = text.match_indices("[[allow]]").nth(index).map_or(0, |(at, _)| at);
                return Err(wrong(at, "a rule is about a user or about a group".into()));
            }
        }
        Ok(policy)
    }

    /// Whether this user may watch a process with these credentials, and by which word. `proven`: it has shown that the kernel lets it
    /// attach itself.
    pub(super) fn decide(
        &self,
        rights: &Rights,
        proven: bool,
        pid: u32,
        target: &Credentials,
    ) -> Result<&'static str, CaptureError> {
        if rights.traces_anyone {
            return Ok("root");
        }
        if proven && target.belong_to(rights) {
            return Ok("own process");
        }
        let peer = rights.peer;
        // Whose it is may be a question to a daemon, and is not asked where it decides nothing.
        let owner = || User::from_uid(Uid::from_raw(target.uids[1])).ok().flatten().map(|user| user.name);
        let allows = |rule: &&Rule| {
            let about = match (&rule.user, &rule.group) {
                (Some(user), _) => peer.user().as_ref() == Some(user),
                (None, Some(group)) => peer.is_in(group),
                (None, None) => false,
            };
            about
                && match &rule.targets {
                    Targets::Any => true,
                    Targets::Own => target.are_of_one_user() && target.belong_to(rights),
                    // A process between two users is of neither.
                    Targets::Users(users) => {
                        target.are_of_one_user() && owner().is_some_and(|owner| users.contains(&owner))
                    }
                }
        };
        match self.allow.iter().find(allows) {
            Some(Rule { targets: Targets::Any, .. }) => Ok("policy: any"),
            Some(Rule { targets: Targets::Own, .. }) => Ok("policy: own"),
            Some(_) => Ok("policy: users"),
            None => Err(CaptureError::NotAllowed { pid, user: peer.uid }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::peer::Peer;
    use super::*;

    fn parse(text: &str) -> Result<Policy, String> {
        Policy::parse(text, Path::new("p.toml")).map_err(|error| error.to_string())
    }

    fn process_of(uid: u32) -> Credentials {
        Credentials {
            comm: "x".into(),
            uids: [uid; 4],
            gids: [uid; 4],
            permitted: 0,
            dumpable: true,
            here: true,
        }
    }

    const fn user(uid: u32) -> Rights {
        Rights { peer: Peer { pid: 1, uid, gid: uid }, traces_anyone: false, whole: true, capabilities: 0 }
    }

    const SOMEONE: Rights = user(12_345);

    #[test]
    fn without_a_word_of_root_everybody_has_their_own_processes_and_root_has_all() {
        let policy = Policy::default();
        assert_eq!(policy.decide(&SOMEONE, true, 7, &process_of(12_345)), Ok("own process"));
        assert!(policy.decide(&SOMEONE, true, 7, &process_of(0)).is_err());
        assert!(policy.decide(&SOMEONE, true, 7, &process_of(54_321)).is_err());
        let root = Rights { traces_anyone: true, ..user(0) };
        assert_eq!(policy.decide(&root, false, 7, &process_of(54_321)), Ok("root"));
    }

    #[test]
    fn what_the_kernel_has_not_been_asked_is_nobodys_own_and_a_powerless_root_is_a_user() {
        let policy = Policy::default();
        assert!(policy.decide(&SOMEONE, false, 7, &process_of(12_345)).is_err());
        let root = user(0);
        assert!(policy.decide(&root, true, 7, &process_of(54_321)).is_err());
        assert!(policy.decide(&root, false, 7, &process_of(0)).is_err());
        assert_eq!(policy.decide(&root, true, 7, &process_of(0)), Ok("own process"));
        let capable = Credentials { permitted: 1 << 21, ..process_of(0) };
        assert!(policy.decide(&root, true, 7, &capable).is_err());
    }

    #[test]
    fn a_rule_widens_it_for_those_it_names() {
        // "daemon" and "bin" are users 1 and 2, and groups of the same numbers, on every Debian.
        let daemon = user(1);
        let policy = parse("[[allow]]\nuser = \"daemon\"\ntargets = [\"bin\"]\n").unwrap();
        assert_eq!(policy.decide(&daemon, false, 7, &process_of(2)), Ok("policy: users"));
        assert!(policy.decide(&daemon, false, 7, &process_of(0)).is_err());
        assert!(policy.decide(&SOMEONE, false, 7, &process_of(2)).is_err());
        // A set-uid program is not simply of the user who started it, and neither is one with capabilities, or one whose users are
        // others than here.
        let between = Credentials { uids: [2, 0, 0, 0], ..process_of(2) };
        let capable = Credentials { permitted: 1 << 21, ..process_of(2) };
        let closed = Credentials { dumpable: false, ..process_of(2) };
        let grouped = Credentials { gids: [2, 42, 42, 42], ..process_of(2) };
        let elsewhere = Credentials { here: false, ..process_of(2) };
        for target in [between, capable, closed, grouped, elsewhere] {
            assert!(policy.decide(&daemon, false, 7, &target).is_err(), "{target:?}");
        }
        let policy = parse("[[allow]]\ngroup = \"daemon\"\ntargets = \"any\"\n").unwrap();
        assert_eq!(policy.decide(&daemon, false, 7, &process_of(0)), Ok("policy: any"));
        assert!(policy.decide(&SOMEONE, false, 7, &process_of(0)).is_err());
    }

    #[test]
    fn a_rule_may_give_everybody_of_a_group_their_own_where_the_kernel_would_not() {
        let daemon = user(1);
        let policy = parse("[[allow]]\ngroup = \"daemon\"\ntargets = \"own\"\n").unwrap();
        assert_eq!(policy.decide(&daemon, false, 7, &process_of(1)), Ok("policy: own"));
        for target in [process_of(2), process_of(0), Credentials { dumpable: false, ..process_of(1) }] {
            assert!(policy.decide(&daemon, false, 7, &target).is_err(), "{target:?}");
        }
        let between = Rights { whole: false, ..daemon };
        assert!(policy.decide(&between, false, 7, &process_of(1)).is_err());
        assert!(policy.decide(&SOMEONE, false, 7, &process_of(12_345)).is_err());
    }

    #[test]
    fn a_broken_policy_says_where() {
        let cases = [
            ("[[allow]]\nuser = \"a\"\ntargets = \"all\"\n", "p.toml:3:11: "),
            ("\n[[allow]]\ntargets = \"any\"\n", "p.toml:2:1: a rule is about"),
            ("[[allow]]\nuser = \"a\"\ngroup = \"b\"\ntargets = \"any\"\n", "p.toml:1:1: a rule is about"),
            ("alow = []\n", "p.toml:1:1: "),
            ("[[allow]]\nuser = \"a\"\n", "p.toml:1:1: "),
        ];
        for (text, words) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with(words), "{error}");
        }
    }

    #[test]
    fn a_policy_that_others_could_write_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        assert_eq!(Policy::read(&path).unwrap(), Policy::default());
        std::fs::write(&path, "").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o666);
        assert!(matches!(Policy::read(&path), Err(PolicyError::Writable { .. })));
        mode(0o644);
        // Only root can make a file that is root's.
        let own = nix::unistd::geteuid().is_root();
        assert_eq!(Policy::read(&path).is_ok(), own);
        if own {
            std::os::unix::fs::chown(&path, Some(1), None).unwrap();
            assert!(matches!(Policy::read(&path), Err(PolicyError::Writable { .. })));
        }
    }
}
