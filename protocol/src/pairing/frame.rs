//! Frames on the stream: a length, a kind, and the body.

use super::refusal::Refusal;
use crate::reader::take_up_to;

/// Bytes of the length that precedes a frame.
const LENGTH: usize = 2;

/// The longest frame before the handshake is done.
pub(super) const MAX_HANDSHAKE_FRAME: usize = 512;
/// The longest frame after it.
pub(super) const MAX_FRAME: usize = 16 << 10;

const NOISE: u8 = 0;
const REFUSAL: u8 = 1;

/// A frame that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A message of the handshake, or of the transport after it.
    Noise(Vec<u8>),
    /// The other side refused and has closed the stream.
    Refusal(Refusal),
}

/// Assembles frames from received bytes. Buffers at most one frame, whose length was checked first.
#[derive(Debug, Default)]
pub(super) struct FrameReader(Vec<u8>);

impl FrameReader {
    /// Takes from `input` up to the end of one frame, of at most `limit` bytes after its length.
    pub(super) fn read(
        &mut self,
        input: &mut &[u8],
        limit: usize,
    ) -> Result<Option<Frame>, Refusal> {
        if !self.fill(input, LENGTH) {
            return Ok(None);
        }
        let len = usize::from(u16::from_le_bytes([self.0[0], self.0[1]]));
        if len > limit {
            return Err(Refusal::Oversize);
        }
        if !self.fill(input, LENGTH + len) {
            return Ok(None);
        }
        let frame = std::mem::take(&mut self.0);
        match &frame[LENGTH..] {
            [NOISE, message @ ..] => Ok(Some(Frame::Noise(message.to_vec()))),
            &[REFUSAL, code] => Ok(Some(Frame::Refusal(Refusal::from_code(code)))),
            _ => Err(Refusal::Malformed),
        }
    }

    /// Buffers input up to `len` bytes; whether they are complete.
    fn fill(&mut self, input: &mut &[u8], len: usize) -> bool {
        let wanted = len.saturating_sub(self.0.len());
        self.0.extend_from_slice(take_up_to(input, wanted));
        self.0.len() >= len
    }
}

/// The frame of a Noise message, which is shorter than [`MAX_FRAME`].
pub(super) fn noise_frame(message: &[u8]) -> Vec<u8> {
    frame(NOISE, message)
}

/// The frame of a refusal.
pub(super) fn refusal_frame(why: Refusal) -> Vec<u8> {
    frame(REFUSAL, &[why.code()])
}

impl Refusal {
    /// The bytes that refuse a stream, to be sent before it is closed.
    pub fn to_bytes(self) -> Vec<u8> {
        refusal_frame(self)
    }
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(1 + body.len()).expect("frames have at most 16 KiB");
    let mut out = Vec::with_capacity(LENGTH + 1 + body.len());
    out.extend_from_slice(&len.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_over_the_limit_is_refused_before_its_bytes_come() {
        let mut reader = FrameReader::default();
        let mut input = &[0x01, 0x02][..];
        assert_eq!(reader.read(&mut input, 512), Err(Refusal::Oversize));
        assert!(reader.0.capacity() < 16);
    }

    #[test]
    fn unknown_kinds_and_empty_frames_are_malformed() {
        for bytes in [&[0, 0][..], &[1, 0, 2], &[1, 0, 1], &[3, 0, 1, 1, 1]] {
            let read = FrameReader::default().read(&mut &*bytes, 512);
            assert_eq!(read, Err(Refusal::Malformed));
        }
    }

    proptest! {
        #[test]
        fn frames_come_back_however_they_are_cut(
            messages in vec(vec(any::<u8>(), 0..200), 0..6), cut in 1..50_usize,
        ) {
            let mut bytes: Vec<u8> = messages.iter().flat_map(|m| noise_frame(m)).collect();
            bytes.extend(refusal_frame(Refusal::Busy));
            let mut reader = FrameReader::default();
            let mut frames = Vec::new();
            for mut part in bytes.chunks(cut) {
                while let Some(frame) = reader.read(&mut part, 512).expect("good frames") {
                    frames.push(frame);
                }
            }
            let mut expected: Vec<_> = messages.into_iter().map(Frame::Noise).collect();
            expected.push(Frame::Refusal(Refusal::Busy));
            prop_assert_eq!(frames, expected);
        }
    }
}
