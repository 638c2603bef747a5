//! What a display says of itself: the first 128 bytes of its EDID (VESA E-EDID A2). Pure.

/// Who made a display, which one it is, and which of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Edid {
    /// Three letters that UEFI's registry gives to a maker.
    pub(super) make: String,
    /// Its name, or its product code in hexadecimal where it has none.
    pub(super) model: String,
    /// Its serial number, as text or number; empty where it has none.
    pub(super) serial: String,
}

const HEADER: [u8; 8] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
/// Four descriptors of 18 bytes.
const DESCRIPTORS: std::ops::Range<usize> = 54..126;
const NAME: u8 = 0xfc;
const SERIAL: u8 = 0xff;

/// Reads an EDID; `None` when it is none, or damaged.
pub(super) fn parse(bytes: &[u8]) -> Option<Edid> {
    let block = bytes.get(..128)?;
    let sum = block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if block[..8] != HEADER || sum != 0 {
        return None;
    }
    let maker = u16::from_be_bytes([block[8], block[9]]);
    let letter = |shift: u16| match (maker >> shift) & 31 {
        number @ 1..=26 => char::from(b'A' + number as u8 - 1),
        _ => '?',
    };
    let number = u32::from_le_bytes([block[12], block[13], block[14], block[15]]);
    let product = u16::from_le_bytes([block[10], block[11]]);
    let numbered = if number == 0 { String::new() } else { number.to_string() };
    Some(Edid {
        make: [10, 5, 0].map(letter).iter().collect(),
        model: text(block, NAME).unwrap_or_else(|| format!("{product:04X}")),
        serial: text(block, SERIAL).unwrap_or(numbered),
    })
}

/// The text of the first descriptor of this kind.
fn text(block: &[u8], kind: u8) -> Option<String> {
    let descriptor = block[DESCRIPTORS].chunks_exact(18).find(|bytes| bytes[..4] == [0, 0, 0, kind])?;
    let text = descriptor[5..].split(|byte| *byte == b'\n').next()?;
    // Code page 437; what is not ASCII in it is rare enough to be left out.
    let text: String =
        text.iter().filter(|byte| (b' '..=b'~').contains(byte)).map(|byte| char::from(*byte)).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The block with its check sum right.
    fn block(descriptors: &[(u8, &[u8])], serial: u32) -> [u8; 128] {
        let mut block = [0; 128];
        block[..8].copy_from_slice(&HEADER);
        // "DEL": 4, 5, 12
        block[8..10].copy_from_slice(&(4u16 << 10 | 5 << 5 | 12).to_be_bytes());
        block[10..12].copy_from_slice(&0x41d8u16.to_le_bytes());
        block[12..16].copy_from_slice(&serial.to_le_bytes());
        for (at, (kind, text)) in descriptors.iter().enumerate() {
            let start = DESCRIPTORS.start + 18 * at;
            block[start + 3] = *kind;
            block[start + 5..start + 5 + text.len()].copy_from_slice(text);
        }
        let sum = block.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        block[127] = sum.wrapping_neg();
        block
    }

    #[test]
    fn names_and_numbers() {
        let edid =
            parse(&block(&[(SERIAL, b"ABC1234\n     "), (NAME, b"DELL U2720Q\n ")], 7)).expect("right");
        assert_eq!(
            (edid.make.as_str(), edid.model.as_str(), edid.serial.as_str()),
            ("DEL", "DELL U2720Q", "ABC1234")
        );
        let edid = parse(&block(&[], 7)).expect("right");
        assert_eq!((edid.model.as_str(), edid.serial.as_str()), ("41D8", "7"));
        assert_eq!(parse(&block(&[], 0)).expect("right").serial, "");
        // One that fills its thirteen bytes has no line end.
        assert_eq!(parse(&block(&[(NAME, b"ABCDEFGHIJKLM")], 0)).expect("right").model, "ABCDEFGHIJKLM");
        let mut damaged = block(&[], 0);
        damaged[60] ^= 1;
        assert_eq!(parse(&damaged), None);
        assert_eq!(parse(&[0; 127]), None);
        assert_eq!(parse(&[]), None);
    }

    proptest! {
        #[test]
        fn whatever_the_display_sends_there_is_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 128..=256)) {
            bytes[..8].copy_from_slice(&HEADER);
            let sum = bytes[..127].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            bytes[127] = sum.wrapping_neg();
            let edid = parse(&bytes).expect("its sum is right");
            prop_assert_eq!(edid.make.len(), 3);
            prop_assert!(edid.model.is_ascii() && !edid.model.is_empty());
        }
    }
}
