//! A list of ranges in memory of fixed size.

use crate::capture::PageRange;

/// Ranges that one list holds. A process has 65,530 mappings unless its administrator allows more.
const ROOM: usize = 1 << 18;

/// Ranges, as they came; sorted and joined where there is no room for more.
#[repr(C)]
pub(super) struct List {
    length: usize,
    /// Starts and ends.
    ranges: [(u64, u64); ROOM],
}

impl List {
    fn known(&mut self) -> &mut [(u64, u64)] {
        self.ranges.get_mut(..self.length).unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        self.length
    }

    /// The range at this place.
    pub fn get(&self, index: usize) -> Option<PageRange> {
        let known = self.ranges.get(..self.length)?;
        known.get(index).map(|&(start, end)| PageRange { start, end })
    }

    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Adds a range; whether there was room.
    pub fn push(&mut self, range: PageRange) -> bool {
        if let Some(last) = self.known().last_mut()
            && last.0 <= range.start
            && range.start <= last.1
        {
            last.1 = last.1.max(range.end);
            return true;
        }
        if self.length == ROOM {
            self.compact();
        }
        match self.ranges.get_mut(self.length) {
            Some(place) => {
                *place = (range.start, range.end);
                self.length = self.length.wrapping_add(1);
                true
            }
            None => false,
        }
    }

    /// Sorts them and joins those that touch or overlap.
    pub fn compact(&mut self) {
        let known = self.known();
        known.sort_unstable();
        let mut kept = 0usize;
        for index in 0..known.len() {
            let Some(&next) = known.get(index) else { break };
            match kept.checked_sub(1).and_then(|last| known.get_mut(last)) {
                Some(last) if next.0 <= last.1 => last.1 = last.1.max(next.1),
                _ => {
                    if let Some(place) = known.get_mut(kept) {
                        *place = next;
                    }
                    kept = kept.wrapping_add(1);
                }
            }
        }
        self.length = kept;
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: PageRange) {
        self.compact();
        let touched = |&&(start, end): &&(u64, u64)| start < range.end && range.start < end;
        let known = self.known();
        let first = known.partition_point(|&(_, end)| end <= range.start);
        let count = known.get(first..).unwrap_or_default().iter().take_while(touched).count();
        let Some(last) = count.checked_sub(1).map(|more| first.wrapping_add(more)) else { return };
        let before = known.get(first).map(|&(start, _)| (start, range.start));
        let behind = known.get(last).map(|&(_, end)| (range.end, end));
        known.copy_within(last.wrapping_add(1).., first);
        self.length = self.length.wrapping_sub(count);
        for (start, end) in [before, behind].into_iter().flatten().filter(|(start, end)| start < end) {
            self.push(PageRange { start, end });
        }
        self.compact();
    }

    /// Takes over what another one has.
    pub fn take(&mut self, other: &mut List) {
        let length = other.length;
        if let (Some(to), Some(from)) = (self.ranges.get_mut(..length), other.ranges.get(..length)) {
            to.copy_from_slice(from);
            self.length = length;
        }
        other.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::alloc::{Layout, alloc_zeroed};

    use proptest::prelude::*;

    use super::*;
    use crate::capture::range;

    /// All zero, as it is in a keeper.
    fn empty() -> Box<List> {
        // SAFETY: an all-zero list is an empty one, and the layout is its own.
        unsafe { Box::from_raw(alloc_zeroed(Layout::new::<List>()).cast()) }
    }

    fn all(list: &List) -> Vec<PageRange> {
        (0..list.len()).filter_map(|index| list.get(index)).collect()
    }

    proptest! {
        #[test]
        fn what_was_added_and_not_removed_is_in_it(
            turns in prop::collection::vec((any::<bool>(), 0u64..200, 1u64..30), 1..60),
        ) {
            let mut list = empty();
            let mut truth: Vec<PageRange> = Vec::new();
            for (add, start, length) in turns {
                let range = PageRange::new(start, start + length);
                if add {
                    prop_assert!(list.push(range));
                    truth.push(range);
                    range::merge(&mut truth);
                } else {
                    list.remove(range);
                    truth = range::subtract(&truth, &[range]);
                }
                let mut said = all(&list);
                range::merge(&mut said);
                prop_assert_eq!(&said, &truth);
            }
            list.compact();
            prop_assert_eq!(all(&list), truth);
        }
    }

    #[test]
    fn a_full_list_makes_room_and_refuses_only_what_has_none() {
        let mut list = empty();
        // Every second one first, so that none touches the one before it.
        for index in (0..ROOM as u64).map(|index| index * 2) {
            assert!(list.push(PageRange::new(index * 10, index * 10 + 5)));
        }
        assert!(!list.push(PageRange::new(1_000_000_000, 1_000_000_005)));
        assert!(list.push(PageRange::new(1, 3)) || list.len() == ROOM);
        list.remove(PageRange::new(0, 20 * ROOM as u64));
        assert_eq!(list.len(), 0);
        assert!(list.push(PageRange::new(1, 3)));
    }
}
