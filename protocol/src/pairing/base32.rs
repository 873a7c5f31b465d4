//! Bytes as letters and digits: RFC 4648 base32 without padding.

use data_encoding::BASE32_NOPAD;

/// Five bits a character, the last filled with zeros.
pub(super) fn encode(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes)
}

/// The bytes of a text in either case; `None` if [`encode`] gives another text for any bytes.
pub(super) fn decode(text: impl Iterator<Item = u8>) -> Option<Vec<u8>> {
    let upper: Vec<_> = text.map(|letter| letter.to_ascii_uppercase()).collect();
    BASE32_NOPAD.decode(&upper).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_vectors_of_the_rfc_hold() {
        let vectors = [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ];
        for (bytes, text) in vectors {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text.bytes()).as_deref(), Some(bytes.as_bytes()));
            let lower = text.to_ascii_lowercase();
            assert_eq!(decode(lower.bytes()).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn what_no_bytes_encode_to_is_refused() {
        for text in ["A", "MZ=", "M1", "MZXW6Y", "MZ", "é"] {
            assert_eq!(decode(text.bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode(encode(&bytes).bytes()), Some(bytes));
        }

        #[test]
        fn one_text_for_the_same_bytes(text in "[A-Z2-7]{0,40}") {
            if let Some(bytes) = decode(text.bytes()) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
