//! Message framing on the local socket.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest JSON of a message, in bytes.
const MOST_JSON: usize = 1 << 20;
/// Longest payload, in bytes: the largest frame of hidden states.
const MOST_PAYLOAD: usize = 16 << 20;

/// Writes a message.
///
/// # Errors
/// The system's I/O error.
pub(super) fn write(
    to: &mut impl Write,
    message: &impl Serialize,
    payload: &[u8],
) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
    let mut bytes = Vec::with_capacity(8 + json.len() + payload.len());
    bytes.extend_from_slice(&length(&json)?.to_le_bytes());
    bytes.extend_from_slice(&length(payload)?.to_le_bytes());
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(payload);
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads a message; `None` at the end of the stream.
///
/// # Errors
/// The system's I/O error, and [`io::ErrorKind::InvalidData`] for a malformed message.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<(T, Vec<u8>)>> {
    let mut lengths = [0; 8];
    match from.read_exact(&mut lengths) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [a, b, c, d, e, f, g, h] = lengths;
    let json = u32::from_le_bytes([a, b, c, d]) as usize;
    let payload = u32::from_le_bytes([e, f, g, h]) as usize;
    if json > MOST_JSON || payload > MOST_PAYLOAD {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; json + payload];
    from.read_exact(&mut bytes)?;
    let payload = bytes.split_off(json);
    Ok(Some((serde_json::from_slice(&bytes)?, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_oversize_ones_are_refused_before_memory_is_taken() {
        let mut bytes = Vec::new();
        write(&mut bytes, &"hello", &[1, 2, 3]).expect("a vector grows");
        write(&mut bytes, &7, &[]).expect("a vector grows");
        let mut rest = &bytes[..];
        let first = read::<String>(&mut rest).expect("a message");
        assert_eq!(first, Some(("hello".to_owned(), vec![1, 2, 3])));
        assert_eq!(
            read::<u32>(&mut rest).expect("a message"),
            Some((7, vec![]))
        );
        assert_eq!(read::<u32>(&mut rest).expect("the end"), None);
        let huge = [0xFF; 8];
        let error = read::<u32>(&mut &huge[..]).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let error = read::<u32>(&mut &bytes[..12]).expect_err("cut off");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
