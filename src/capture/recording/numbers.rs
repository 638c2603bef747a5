//! Whole numbers in few bytes: seven bits a byte, least first, the eighth says that more follow (LEB128).

use super::error::Damaged;

/// No text is longer: the kernel's longest path, with each of its bytes escaped.
pub(super) const MAX_TEXT: usize = 4 * 4096;

/// Appends `value`.
pub(super) fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Appends the length of `text` and its bytes.
pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// What is left to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn number(&mut self) -> Result<u64, Damaged> {
        let mut value = 0u64;
        for (index, byte) in self.0.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * index as u32;
            if shift >= 64 || (bits << shift) >> shift != bits {
                return Err(Damaged("a number has more than 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(Damaged("a number is cut off"))
    }

    pub fn number_u32(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.number()?).map_err(|_| Damaged("a number has more than 32 bits"))
    }

    /// As many bytes as the next number says.
    pub fn part(&mut self) -> Result<Bytes<'a>, Damaged> {
        let length = usize::try_from(self.number()?).map_err(|_| Damaged("a length is out of range"))?;
        let (part, rest) = self.0.split_at_checked(length).ok_or(Damaged("a length is past the end"))?;
        self.0 = rest;
        Ok(Bytes(part))
    }

    pub fn text(&mut self) -> Result<String, Damaged> {
        let part = self.part()?;
        if part.0.len() > MAX_TEXT {
            return Err(Damaged("a name is longer than any"));
        }
        String::from_utf8(part.0.to_vec()).map_err(|_| Damaged("a name is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_texts_come_back(values in prop::collection::vec(any::<u64>(), 0..20), text in ".*") {
            let mut bytes = Vec::new();
            values.iter().for_each(|value| put(&mut bytes, *value));
            put_text(&mut bytes, &text);
            let mut read = Bytes(&bytes);
            for value in values {
                prop_assert_eq!(read.number(), Ok(value));
            }
            prop_assert_eq!(read.text(), Ok(text));
            prop_assert!(read.is_empty());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(Bytes(&[0xff; 10]).number().is_err());
        assert!(Bytes(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]).number().is_err());
        assert!(Bytes(&[0x80]).number().is_err());
        assert!(Bytes(&[5, 1, 2]).part().is_err());
        assert!(Bytes(&[0xff, 0xff, 0xff, 0xff, 0x1f]).number_u32().is_err());
    }
}
