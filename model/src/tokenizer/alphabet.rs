//! The byte alphabet of byte-level BPE: a printable character for every byte.
//!
//! Printable Latin-1 characters represent themselves; the other bytes, in ascending order, are
//! represented by the characters from U+0100 on. Introduced by GPT-2, whose vocabularies are text
//! files.

const fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

const CHARS: [char; 256] = {
    let mut chars = ['\0'; 256];
    let mut next = 0x100_u32;
    let mut byte = 0;
    while byte < 256 {
        let code = if stands_for_itself(byte as u8) {
            byte as u32
        } else {
            next += 1;
            next - 1
        };
        chars[byte] = match char::from_u32(code) {
            Some(char) => char,
            None => panic!("codes below 0x200 are characters"),
        };
        byte += 1;
    }
    chars
};

/// One more than the highest character of the alphabet.
const END: usize = 0x144;

const BYTES: [Option<u8>; END] = {
    let mut bytes = [None; END];
    let mut byte = 0;
    while byte < 256 {
        bytes[CHARS[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    bytes
};

/// The character that represents a byte.
pub(super) const fn char_of(byte: u8) -> char {
    CHARS[byte as usize]
}

/// The byte that a character represents, if the character is in the alphabet.
pub(super) fn byte_of(char: char) -> Option<u8> {
    BYTES.get(char as usize).copied().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_printable_character_of_its_own() {
        for byte in 0..=255 {
            let char = char_of(byte);
            assert_eq!(byte_of(char), Some(byte));
            assert!(!char.is_whitespace() && !char.is_control());
        }
        assert_eq!(char_of(b' '), 'Ġ');
        assert_eq!(char_of(b'\n'), 'Ċ');
        assert_eq!(char_of(0xff), 'ÿ');
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('\u{144}'), None);
        assert_eq!(byte_of('語'), None);
    }
}
