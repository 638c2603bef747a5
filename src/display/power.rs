//! When displays are switched off: by hand, when nobody is there, and by the clock. Pure: times in, on or off out.
//!
//! Off is not gone: an output keeps its place, its clients keep their size, and whatever turns it on again finds everything
//! as it was.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::within;

/// While the clock says off, a key or the pointer switches displays on for so long after the last use, when no other time is set.
const GRACE: Duration = Duration::from_secs(60);
const DAY: u32 = 24 * 60 * 60;

/// When displays are switched off by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PowerSettings {
    /// After so many seconds without a key or the pointer; never when 0. Programs may hold that up.
    #[serde(deserialize_with = "within::<0, 604800, _>")]
    pub idle_off_s: u32,
    /// In these periods of each day.
    pub off: Vec<Period>,
}

/// A period of each day in local time, "22:00-06:30": from its first minute until its last begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Period {
    /// Minutes after midnight.
    from: u32,
    until: u32,
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let minutes = |time: &str| {
            let (hour, minute) = time.trim().split_once(':')?;
            let number = |word: &str| (word.len() == 2).then(|| word.parse::<u32>().ok()).flatten();
            let (hour, minute) = (number(hour)?, number(minute)?);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        text.split_once('-')
            .and_then(|(from, until)| Some(Period { from: minutes(from)?, until: minutes(until)? }))
            .filter(|period| period.from != period.until)
            .ok_or_else(|| format!("\"{text}\" is no period of the day: write for example \"22:00-06:30\""))
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

impl Period {
    /// Whether this second of the day lies in it.
    fn contains(self, second: u32) -> bool {
        let (from, until) = (self.from * 60, self.until * 60);
        if from < until { (from..until).contains(&second) } else { second >= from || second < until }
    }
}

/// What switching depends on, at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Since the last key or movement of the pointer.
    pub(crate) unused: Duration,
    /// A program holds up what happens when nobody is there.
    pub(crate) inhibited: bool,
    /// Seconds after midnight, local time.
    pub(crate) second_of_day: u32,
    /// Somebody has switched everything off, and nobody has used the session since.
    pub(crate) off_by_hand: bool,
}

/// Why displays are off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Off {
    /// Somebody said so.
    ByHand,
    /// Nobody is there.
    Idle,
    /// The clock says so.
    Schedule,
}

impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Off::ByHand => "off by hand",
            Off::Idle => "off, as nobody uses it",
            Off::Schedule => "off, by the schedule",
        })
    }
}

impl PowerSettings {
    /// Whether displays are off at this moment, and after what time to ask again, if by then it may be otherwise by itself.
    pub(crate) fn decide(&self, now: &Moment) -> (Option<Off>, Option<Duration>) {
        if now.off_by_hand {
            return (Some(Off::ByHand), None);
        }
        let idle = Duration::from_secs(self.idle_off_s.into());
        let scheduled = self.off.iter().any(|period| period.contains(now.second_of_day));
        let patience = match (scheduled, idle.is_zero()) {
            (true, true) => Some(GRACE),
            (false, true) => None,
            (_, false) => Some(idle),
        };
        let boundary = self.next_boundary(now.second_of_day);
        let Some(patience) = patience else { return (None, boundary) };
        // A program that shows something holds up idleness, not the night. When it ends is not told: it is asked again.
        if now.inhibited && !scheduled {
            return (None, Some(boundary.map_or(patience, |boundary| boundary.min(patience))));
        }
        match patience.checked_sub(now.unused).filter(|left| !left.is_zero()) {
            Some(left) => (None, Some(boundary.map_or(left, |boundary| boundary.min(left)))),
            None => (Some(if scheduled { Off::Schedule } else { Off::Idle }), boundary),
        }
    }

    /// Until a period begins or ends.
    fn next_boundary(&self, second: u32) -> Option<Duration> {
        self.off
            .iter()
            .flat_map(|period| [period.from * 60, period.until * 60])
            .map(|boundary| (boundary + DAY - second % DAY - 1) % DAY + 1)
            .min()
            .map(|seconds| Duration::from_secs(seconds.into()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn period(text: &str) -> Period {
        Period::try_from(text.to_owned()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn at(time: &str, unused: u64) -> Moment {
        let (hour, minute) = time.split_once(':').expect("a time");
        let number = |word: &str| word.parse::<u32>().expect("a number");
        Moment {
            unused: Duration::from_secs(unused),
            inhibited: false,
            second_of_day: (number(hour) * 60 + number(minute)) * 60,
            off_by_hand: false,
        }
    }

    #[test]
    fn periods_may_go_over_midnight() {
        let night = period("22:00-06:30");
        for (second, inside) in [(0, true), (23_399, true), (23_400, false), (79_199, false), (79_200, true)]
        {
            assert_eq!(night.contains(second), inside, "{second}");
        }
        assert!(period("08:00-09:00").contains(8 * 3600) && !period("08:00-09:00").contains(9 * 3600));
        for wrong in ["", "22:00", "22:00-24:00", "22:00-22:00", "1:00-2:00", "22:60-23:00", "a-b"] {
            assert!(Period::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn idleness_and_the_night_and_a_hand() {
        let settings = PowerSettings { idle_off_s: 300, off: vec![period("22:00-06:30")] };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(settings.decide(&at("12:00", 0)), (None, seconds(300)));
        assert_eq!(settings.decide(&at("21:59", 0)), (None, seconds(60)));
        assert_eq!(settings.decide(&at("12:00", 300)), (Some(Off::Idle), seconds(10 * 3600)));
        assert_eq!(settings.decide(&at("22:00", 300)), (Some(Off::Schedule), seconds(8 * 3600 + 1800)));
        // Who comes at night has light for as long as they use it.
        assert_eq!(settings.decide(&at("23:00", 10)), (None, seconds(290)));
        let film = Moment { inhibited: true, ..at("12:00", 9999) };
        assert_eq!(settings.decide(&film).0, None);
        assert_eq!(settings.decide(&Moment { inhibited: true, ..at("23:00", 9999) }).0, Some(Off::Schedule));
        assert_eq!(
            settings.decide(&Moment { off_by_hand: true, ..at("12:00", 0) }),
            (Some(Off::ByHand), None)
        );
        assert_eq!(PowerSettings::default().decide(&at("23:00", 999_999)), (None, None));
        let night_only = PowerSettings { idle_off_s: 0, ..settings };
        assert_eq!(night_only.decide(&at("12:00", 999_999)), (None, seconds(10 * 3600)));
        assert_eq!(night_only.decide(&at("22:30", 59)).0, None);
        assert_eq!(night_only.decide(&at("22:30", 60)).0, Some(Off::Schedule));
    }

    proptest! {
        #[test]
        fn nothing_changes_before_the_time_that_is_named(
            idle in 0..500u32, periods in prop::collection::vec((0..1440u32, 0..1440u32), 0..3),
            second in 0..DAY, unused in 0..1000u64, inhibited: bool, later in 0.0..1.0f64,
        ) {
            let off = periods
                .into_iter()
                .filter(|(from, until)| from != until)
                .map(|(from, until)| Period { from, until })
                .collect();
            let settings = PowerSettings { idle_off_s: idle, off };
            let now = Moment {
                unused: Duration::from_secs(unused), inhibited, second_of_day: second, off_by_hand: false,
            };
            let (state, again) = settings.decide(&now);
            let wait = again.map_or(f64::from(DAY), |again| again.as_secs_f64());
            prop_assert!(wait > 0.0);
            // Any whole second before that time.
            let step = ((wait - 1.0) * later).floor().max(0.0) as u32;
            let then = Moment {
                unused: now.unused + Duration::from_secs(step.into()), second_of_day: (second + step) % DAY, ..now
            };
            prop_assert_eq!(settings.decide(&then).0, state, "after {} s of {}", step, wait);
        }

        #[test]
        fn periods_are_read_back(from in 0..1440u32, until in 0..1440u32) {
            prop_assume!(from != until);
            let period = Period { from, until };
            prop_assert_eq!(Period::try_from(period.to_string()), Ok(period));
        }
    }
}
