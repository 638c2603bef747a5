//! What is known of each page: what an exact watch would have of it, with the expected value in place of each
//! look that could not see it.
//!
//! Pages are kept by the word: 64 together, once one of them is written, until all are cold again. A word in
//! which every page is armed all the time has one number a page; more is kept where some were not.

use std::collections::BTreeMap;
use std::ops::Range;

use super::marks::{WORD, words};

const PAGES: usize = WORD as usize;
/// What an entry of a tree takes: key and value, the share of a node that is not filled, and of the
/// allocations.
const NODE: usize = 48;
/// A word of which less than this part was missed of late is as one of which nothing was.
const LITTLE: f32 = 1e-3;

type Numbers = [f32; PAGES];

/// What the looks at a page have shown, where it was armed: older ones fade, and those of a page that is not
/// armed more slowly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Evidence {
    /// Seconds of the looks that found it written.
    pub written: f32,
    /// Seconds of all looks at the armed page.
    pub armed: f32,
    /// For how long it has not been armed, seconds.
    pub hidden: f32,
}

/// What is to be expected of a page that is not armed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Expected {
    /// The chance that a look would find it written.
    pub look: f32,
    /// The variance of that chance.
    pub variance: f32,
    /// The chance that it is written within a span.
    pub span: f32,
    /// How much of the evidence still holds, 0..1.
    pub holds: f32,
}

/// A page that was armed again after a while, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Return {
    /// For how long it had not been armed, seconds.
    pub hidden: f32,
    /// The chance that was given for it to be written within a span.
    pub said: f32,
    /// Whether it was.
    pub written: bool,
}

/// What is shown of a page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exposure {
    /// Seconds of looks that found it written, or are expected to have, older ones fading.
    pub written: f32,
    /// Seconds of those that could not see it, fading alike.
    pub missed: f32,
    /// What was expected of these.
    pub look: f32,
    /// The variance of that.
    pub variance: f32,
}

#[derive(Debug, Clone)]
struct Word {
    written: Numbers,
    sampled: Option<Box<Sampled>>,
}

/// What is kept of a word of which some pages were not armed of late.
#[derive(Debug, Clone)]
struct Sampled {
    /// The evidence.
    written: Numbers,
    armed: Numbers,
    /// For how long each was not armed when it was last armed again, or has not been since.
    hidden: Numbers,
    missed: Numbers,
    /// What is expected of those that are not armed.
    look: Numbers,
    variance: Numbers,
    /// What was said of each that was armed again and has shown nothing yet, and for how long it has not.
    said: Numbers,
    silent: Numbers,
    /// The pages that the last look could not see, by bits.
    unseen: u64,
    /// Those that were armed again and have shown nothing yet.
    back: u64,
}

/// How what is known fades at a look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fading {
    /// Seconds of the look, and of a span.
    pub length: f32,
    pub span: f32,
    /// What is left of what is shown.
    pub shown: f32,
    /// What is left of the evidence of a page that was armed, and of one that was not.
    pub armed: f32,
    pub unseen: f32,
    /// Pages of which less than this was written are cold, and forgotten.
    pub cold: f32,
    /// What a page has that was armed all the time, after this look: shown, and as evidence; seconds.
    pub whole: f32,
    pub whole_evidence: f32,
}

/// By place on a line that may be terabytes long, of which hardly any page is warm.
#[derive(Debug, Clone, Default)]
pub(super) struct Exposures(BTreeMap<u64, Box<Word>>);

impl Exposures {
    /// Takes the looks so far as older by one that could not see `unseen`. How many warm pages there are, and
    /// how many of them it could not see. `expect` says what is to be expected by the evidence; what comes of
    /// pages that are seen again goes to `returned`.
    pub fn look(
        &mut self,
        unseen: impl IntoIterator<Item = Range<u64>>,
        fading: &Fading,
        expect: impl Fn(Evidence) -> Expected,
        mut returned: impl FnMut(Return),
    ) -> (u64, u64) {
        let mut hidden_now: BTreeMap<u64, u64> = BTreeMap::new();
        for places in unseen {
            let (first, behind) = (places.start / WORD, places.end.div_ceil(WORD));
            for (index, _) in self.0.range(first..behind.max(first)) {
                *hidden_now.entry(*index).or_default() |= bits_within(&places, *index);
            }
        }
        let (mut warm, mut hidden) = (0, 0);
        self.0.retain(|index, word| {
            let unseen = hidden_now.get(index).copied().unwrap_or(0);
            word.written.iter_mut().for_each(|written| *written *= fading.shown);
            if unseen != 0 && word.sampled.is_none() {
                word.sampled = Some(Box::new(Sampled::of(&word.written, fading)));
            }
            if let Some(sampled) = &mut word.sampled {
                sampled.look(&mut word.written, unseen, fading, &expect, &mut returned);
            }
            let mut any: u64 = 0;
            for (at, written) in word.written.iter_mut().enumerate() {
                let is_warm = *written >= fading.cold;
                *written = if is_warm { *written } else { 0.0 };
                any |= u64::from(is_warm) << at;
            }
            if word.sampled.as_ref().is_some_and(|sampled| sampled.missed_little(fading)) {
                word.sampled = None;
            }
            warm += u64::from(any.count_ones());
            hidden += u64::from((any & unseen).count_ones());
            any != 0
        });
        (warm, hidden)
    }

    /// The last look found these pages written. `new` says that the looks before could not see them, whatever
    /// is kept of them.
    pub fn write(
        &mut self,
        places: Range<u64>,
        new: bool,
        fading: &Fading,
        expect: impl Fn(Evidence) -> Expected,
        mut returned: impl FnMut(Return),
    ) {
        for (index, within) in words(places) {
            let word = self.0.entry(index);
            let word = word.or_insert_with(|| Box::new(Word { written: [0.0; PAGES], sampled: None }));
            if new && word.sampled.is_none() {
                word.sampled = Some(Box::new(Sampled::of(&word.written, fading)));
            }
            for at in within {
                let shown = &mut word.written[at];
                if let Some(sampled) = &mut word.sampled {
                    let new = new && sampled.written[at] < fading.cold;
                    sampled.write(at, new, fading, &mut returned);
                    if new {
                        *shown = sampled.begin(at, fading, &expect);
                    }
                }
                *shown += fading.length;
            }
        }
    }

    /// Whether every page was armed all the time that counts.
    pub fn is_exact(&self) -> bool {
        self.0.values().all(|word| word.sampled.is_none())
    }

    /// The warm pages of a stretch, by place.
    pub fn range(&self, places: Range<u64>) -> impl Iterator<Item = (u64, Exposure)> + '_ {
        let (first, behind) = (places.start / WORD, places.end.div_ceil(WORD));
        let words = self.0.range(first..behind.max(first));
        words.flat_map(|(index, word)| word.pages(*index)).filter(move |(place, _)| places.contains(place))
    }

    /// All warm pages, by place.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Exposure)> + '_ {
        self.0.iter().flat_map(|(index, word)| word.pages(*index))
    }

    /// The evidence of all pages of which there is some, where not every page was armed.
    pub fn evidence(&self) -> impl Iterator<Item = Evidence> + '_ {
        let words = self.0.values().filter_map(|word| word.sampled.as_ref());
        words.flat_map(|sampled| (0..PAGES).map(|at| sampled.evidence(at))).filter(|page| page.written > 0.0)
    }

    /// The warm pages that the last look could not see, by place.
    pub fn unseen(&self) -> impl Iterator<Item = (u64, Exposure)> + '_ {
        self.0.iter().flat_map(|(index, word)| {
            let unseen = word.sampled.as_ref().map_or(0, |sampled| sampled.unseen);
            let pages = (unseen != 0).then(|| word.pages(*index));
            pages.into_iter().flatten().filter(move |(place, _)| unseen >> (place % WORD) & 1 == 1)
        })
    }

    /// What a word takes in memory, bytes, where every page is armed.
    pub const WEIGHT_OF_WORD: usize = size_of::<Word>() + NODE;

    /// What it takes besides where some of its pages were not seen.
    pub const WEIGHT_OF_UNSEEN: usize = size_of::<Sampled>() + NODE;

    /// How many words there are.
    pub fn words(&self) -> usize {
        self.0.len()
    }

    /// What it takes in memory, bytes.
    pub fn weight(&self) -> usize {
        let sampled = self.0.values().filter(|word| word.sampled.is_some()).count();
        self.0.len() * Self::WEIGHT_OF_WORD + sampled * size_of::<Sampled>()
    }

    /// The same where pages have moved: these stretches, each to its new first place. Of the looks that could
    /// not see a page only what was expected of them is kept.
    pub fn moved(&self, moves: &[(Range<u64>, u64)]) -> Self {
        let mut moved = Self::default();
        for (from, to) in moves {
            for (place, page) in self.range(from.clone()) {
                let place = to + (place - from.start);
                let word = moved.0.entry(place / WORD);
                let word = word.or_insert_with(|| Box::new(Word { written: [0.0; PAGES], sampled: None }));
                word.written[(place % WORD) as usize] = page.written;
            }
        }
        moved
    }
}

impl Word {
    fn pages(&self, index: u64) -> impl Iterator<Item = (u64, Exposure)> + '_ {
        let page = |at: usize| match &self.sampled {
            None => Exposure { written: self.written[at], missed: 0.0, look: 0.0, variance: 0.0 },
            Some(sampled) => Exposure {
                written: self.written[at],
                missed: sampled.missed[at],
                look: sampled.look[at],
                variance: sampled.variance[at],
            },
        };
        (index * WORD..).zip((0..PAGES).map(page)).filter(|(_, page)| page.written > 0.0)
    }
}

impl Sampled {
    /// Begins where every page was armed until now.
    fn of(written: &Numbers, fading: &Fading) -> Self {
        const NONE: Numbers = [0.0; PAGES];
        let before = (fading.whole - fading.length).max(f32::MIN_POSITIVE);
        let evidence = ((fading.whole_evidence - fading.length) / before).max(1.0);
        Self {
            written: written.map(|written| written * evidence),
            armed: [before * evidence; PAGES],
            hidden: NONE,
            missed: NONE,
            look: NONE,
            variance: NONE,
            said: NONE,
            silent: NONE,
            unseen: 0,
            back: 0,
        }
    }

    fn evidence(&self, at: usize) -> Evidence {
        Evidence { written: self.written[at], armed: self.armed[at], hidden: self.hidden[at] }
    }

    fn missed_little(&self, fading: &Fading) -> bool {
        self.unseen == 0 && self.missed.iter().all(|missed| *missed < LITTLE * fading.whole)
    }

    fn look(
        &mut self,
        shown: &mut Numbers,
        unseen: u64,
        fading: &Fading,
        expect: &impl Fn(Evidence) -> Expected,
        returned: &mut impl FnMut(Return),
    ) {
        let before = std::mem::replace(&mut self.unseen, unseen);
        // What was left unarmed before it showed anything has shown nothing.
        self.back &= !unseen;
        for at in bits(self.back) {
            self.silent[at] += fading.length;
            if self.silent[at] >= fading.span {
                self.back &= !(1 << at);
                returned(Return { hidden: self.hidden[at], said: self.said[at], written: false });
                self.hidden[at] = 0.0;
            }
        }
        for at in bits(before & !unseen) {
            let expected = expect(self.evidence(at));
            (self.said[at], self.silent[at]) = (expected.span, 0.0);
            self.written[at] *= expected.holds;
            self.back |= 1 << at;
        }
        let seen: Numbers = std::array::from_fn(|at| if unseen >> at & 1 == 0 { 1.0 } else { 0.0 });
        for ((written, armed), seen) in self.written.iter_mut().zip(&mut self.armed).zip(&seen) {
            let keep = fading.unseen + (fading.armed - fading.unseen) * seen;
            *written *= keep;
            *armed = *armed * keep + fading.length * seen;
        }
        for (missed, seen) in self.missed.iter_mut().zip(&seen) {
            *missed = *missed * fading.shown + fading.length * (1.0 - seen);
        }
        for at in bits(unseen) {
            let first = before >> at & 1 == 0;
            let hidden = if first { fading.length } else { self.hidden[at] + fading.length };
            // It changes slowly, by the time in which nobody looks.
            if first || hidden.to_bits() >> EXPECTED_BITS != self.hidden[at].to_bits() >> EXPECTED_BITS {
                let expected = expect(Evidence { hidden, ..self.evidence(at) });
                (self.look[at], self.variance[at]) = (expected.look, expected.variance);
            }
            self.hidden[at] = hidden;
            // Of what was never found written nothing is expected: it counts as not known.
            if self.written[at] >= fading.cold {
                shown[at] += fading.length * self.look[at];
            }
        }
    }

    fn write(&mut self, at: usize, new: bool, fading: &Fading, returned: &mut impl FnMut(Return)) {
        if self.written[at] < fading.cold {
            // It was silent until now, or nobody has looked.
            self.armed[at] = if new { fading.length } else { fading.whole_evidence };
        }
        self.written[at] += fading.length;
        self.unseen &= !(1 << at);
        if self.back >> at & 1 == 1 {
            self.back &= !(1 << at);
            returned(Return { hidden: self.hidden[at], said: self.said[at], written: true });
        }
        self.hidden[at] = 0.0;
    }

    /// What is to be shown of a page that nobody could see until this look, of the time before.
    fn begin(&mut self, at: usize, fading: &Fading, expect: &impl Fn(Evidence) -> Expected) -> f32 {
        let expected = expect(self.evidence(at));
        (self.look[at], self.variance[at]) = (expected.look, expected.variance);
        self.missed[at] = fading.whole - fading.length;
        self.missed[at] * expected.look
    }
}

/// A time is another one where these bits of it differ: twice in each octave.
const EXPECTED_BITS: u32 = f32::MANTISSA_DIGITS - 2;

/// The bits of word `index` that a stretch has.
fn bits_within(places: &Range<u64>, index: u64) -> u64 {
    let start = places.start.max(index * WORD) - index * WORD;
    let end = places.end.min((index + 1) * WORD) - index * WORD;
    if start < end { u64::MAX >> (WORD - (end - start)) << start } else { 0 }
}

/// The numbers of the bits that are set.
fn bits(word: u64) -> impl Iterator<Item = usize> {
    let mut left = word;
    std::iter::from_fn(move || {
        let at = left.trailing_zeros() as usize;
        left &= left.wrapping_sub(1);
        (at < PAGES).then_some(at)
    })
}
