//! The parts that only compute, held against simple models of themselves.

#![allow(unsafe_code)]

use std::collections::BTreeSet;

use memory_glass::capture::range::{PageRange, intersect, merge, subtract};
use memory_glass::capture::region::parse_maps;
use memory_glass::capture::{MemoryRegion, RegionKind};
use proptest::prelude::*;

const PAGE: u64 = 4096;

fn region() -> impl Strategy<Value = MemoryRegion> {
    let name = prop_oneof![
        Just(None),
        Just(Some("[heap]".to_owned())),
        Just(Some("/SYSV0".to_owned())),
        Just(Some("[stack:".to_owned())),
        // Blanks within, brackets, the mark of deleted files: names are the target's to choose.
        "/[a-z \\[\\]()é]{0,30}[a-z]".prop_map(Some),
        "\\[anon:[a-zA-Z _-]{1,20}\\]".prop_map(Some),
    ];
    (
        1u64..1 << 35,
        1u64..1 << 20,
        "[r-][w-][x-][ps]",
        0u64..1 << 40,
        0u8..=255,
        0u8..=255,
        any::<u32>(),
        name,
    )
        .prop_map(|(page, pages, permissions, offset, major, minor, inode, pathname)| MemoryRegion {
            start: page * PAGE,
            end: (page + pages) * PAGE,
            permissions,
            offset,
            device: format!("{major:02x}:{minor:02x}"),
            inode: inode.into(),
            pathname,
        })
}

fn ranges() -> impl Strategy<Value = Vec<PageRange>> {
    prop::collection::vec((0u64..200, 0u64..20), 0..30).prop_map(|ranges| {
        ranges.into_iter().map(|(start, pages)| PageRange::new(start, start + pages)).collect()
    })
}

fn points(ranges: &[PageRange]) -> BTreeSet<u64> {
    ranges.iter().flat_map(|range| range.start..range.end).collect()
}

proptest! {
    #[test]
    fn a_table_that_is_printed_and_read_again_is_the_same(table in prop::collection::vec(region(), 0..20)) {
        let text: String = table.iter().map(|region| format!("{region}\n")).collect();
        prop_assert_eq!(parse_maps(text.as_bytes()).expect("well formed"), table);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_maps(&text);
    }

    #[test]
    fn no_name_makes_the_parser_panic(name in "\\PC{0,40}") {
        let line = format!("00400000-00401000 rw-p 00000000 fe:00 12      {name}\n");
        if let Ok(table) = parse_maps(line.as_bytes()) {
            prop_assert_eq!(table.len(), 1);
            let _ = table.iter().map(MemoryRegion::kind).count();
        }
    }

    #[test]
    fn merged_ranges_are_sorted_apart_and_cover_the_same(mut given in ranges()) {
        let before = points(&given);
        merge(&mut given);
        prop_assert_eq!(points(&given), before);
        prop_assert!(given.windows(2).all(|pair| pair[0].end < pair[1].start));
        prop_assert!(given.iter().all(|range| !range.is_empty()));
    }
}

proptest! {
    #[test]
    fn sets_of_ranges_are_taken_from_and_with_each_other(mut one in ranges(), mut other in ranges()) {
        merge(&mut one);
        merge(&mut other);
        let (a, b) = (points(&one), points(&other));
        let (left, common) = (subtract(&one, &other), intersect(&one, &other));
        prop_assert_eq!(points(&left), a.difference(&b).copied().collect());
        prop_assert_eq!(points(&common), a.intersection(&b).copied().collect());
        for answer in [left, common] {
            prop_assert!(answer.iter().all(|range| !range.is_empty()));
            prop_assert!(answer.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }
}

/// The kernel's own words, with the columns as it pads them.
#[test]
fn real_lines_are_understood_and_classified() {
    let text = b"\
55d0c8a00000-55d0c8a02000 rw-p 0002f000 fd:00 1835041                    /usr/bin/a name (deleted)
55d0ca000000-55d0ca021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000200000 rw-p 00000000 00:0f 1                          /anon_hugepage (deleted)
7f1000000000-7f1000001000 rw-s 00000000 00:01 4                          /dev/zero (deleted)
7f1000002000-7f1000003000 rw-s 00000000 00:01 5                          /SYSV00000000 (deleted)
7f1000004000-7f1000005000 rw-s 00000000 00:06 412                        /dev/dri/card0
7f1000006000-7f1000007000 rw-p 00000000 00:00 0 
7f1000008000-7f1000009000 rw-p 00000000 00:00 0                          [anon:glibc: malloc arena]
7f100000a000-7f100000b000 rw-s 00000000 00:0e 7                          anon_inode:[perf_event]
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]
7ffc000f4000-7ffc000f8000 r--p 00000000 00:00 0                          [vvar]
7ffc000fa000-7ffc000fc000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";
    let table = parse_maps(text).expect("well formed");
    let kinds: Vec<RegionKind> = table.iter().map(MemoryRegion::kind).collect();
    use RegionKind::*;
    let expected = [
        FilePrivate,
        Heap,
        HugeTlb,
        Shared,
        Shared,
        Special,
        Anonymous,
        Anonymous,
        Special,
        Stack,
        Special,
        Special,
        Special,
    ];
    assert_eq!(kinds, expected);
    assert_eq!(table[0].pathname.as_deref(), Some("/usr/bin/a name (deleted)"));
    assert_eq!((table[0].offset, table[0].device.as_str(), table[0].inode), (0x2f000, "fd:00", 1_835_041));
    assert_eq!(table.iter().filter(|region| region.is_watchable()).count(), 8);
}
