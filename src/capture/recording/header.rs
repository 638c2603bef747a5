//! The header of a file: who was recorded, how, and since when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::error::Damaged;
use super::numbers::{Bytes, put, put_text};
use crate::capture::{Rung, TargetInfo};

/// What a recording says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingInfo {
    /// The process that was recorded.
    pub target: TargetInfo,
    /// How its writes were followed.
    pub rung: Rung,
    /// The instant that offsets are counted from.
    pub started: SystemTime,
}

/// [`RecordingInfo`] as one file of a recording has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub info: RecordingInfo,
    /// The same in all files of a recording, and in no other recording.
    pub id: u64,
    /// Counts the files of a recording from 1.
    pub segment: u64,
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let RecordingInfo { target, rung, started } = &self.info;
        let since_epoch = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut bytes = Vec::new();
        for number in [
            self.id,
            self.segment,
            since_epoch.as_nanos() as u64,
            u64::from(target.pid),
            target.page_size,
            rung_code(*rung),
        ] {
            put(&mut bytes, number);
        }
        put_text(&mut bytes, &target.comm);
        bytes
    }

    /// What a later version has appended is passed over.
    pub fn decode(content: &[u8]) -> Result<Self, Damaged> {
        let mut bytes = Bytes(content);
        let (id, segment) = (bytes.number()?, bytes.number()?);
        let started = UNIX_EPOCH
            .checked_add(Duration::from_nanos(bytes.number()?))
            .ok_or(Damaged("the start is out of range"))?;
        let pid = bytes.number_u32()?;
        let page_size = bytes.number()?;
        if !page_size.is_power_of_two() || !(1 << 10..=1 << 20).contains(&page_size) {
            return Err(Damaged("the page size is none"));
        }
        let rung = rung_of(bytes.number()?).ok_or(Damaged("the rung is not known"))?;
        let comm = bytes.text()?;
        Ok(Self {
            info: RecordingInfo { target: TargetInfo { pid, comm, page_size }, rung, started },
            id,
            segment,
        })
    }
}

/// A rung as a number that never changes.
fn rung_code(rung: Rung) -> u64 {
    match rung {
        Rung::WpAsync => 1,
        Rung::WpSync => 2,
        Rung::Missing => 3,
        Rung::SoftDirty => 4,
    }
}

fn rung_of(code: u64) -> Option<Rung> {
    Rung::LADDER.into_iter().find(|rung| rung_code(*rung) == code)
}
