//! Reads frames from pieces of a stream.

use super::error::FrameError;
use super::header::{FrameHeader, HEADER_BYTES, Kind};
use super::shape::HiddenShape;
use crate::reader::take_up_to;

/// A whole frame. Its payload has the length that its header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    header: FrameHeader,
    payload: Vec<u8>,
}

impl Frame {
    /// A frame with this payload; the header's `payload_bytes` is set to its length.
    ///
    /// # Errors
    /// [`FrameError`] if a peer would refuse it.
    pub fn new(mut header: FrameHeader, payload: Vec<u8>) -> Result<Self, FrameError> {
        // A length beyond 32 bits is refused as the largest of 32 bits is.
        header.payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        header.check()?;
        Ok(Self { header, payload })
    }

    /// What it is.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Its hidden states; empty if it has none.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Both.
    pub fn into_parts(self) -> (FrameHeader, Vec<u8>) {
        (self.header, self.payload)
    }

    /// Appends the frame as it travels.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header.encode());
        out.extend_from_slice(&self.payload);
    }
}

/// What came of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// A whole frame.
    Frame(Frame),
    /// The header of a frame whose payload nobody wanted.
    Skipped(FrameHeader),
}

/// Reads frames from pieces of a stream, however it was cut. Holds no more than one frame.
#[derive(Debug, Default)]
pub struct FrameReader {
    state: State,
    header: [u8; HEADER_BYTES],
}

#[derive(Debug)]
enum State {
    /// So many bytes of the header are there.
    Header(usize),
    /// INVARIANT: `payload` has fewer bytes than `header.payload_bytes`.
    Payload {
        header: FrameHeader,
        payload: Vec<u8>,
    },
    /// So many bytes are still to skip, at least one.
    Skipping {
        header: FrameHeader,
        left: usize,
    },
    Failed(FrameError),
}

impl Default for State {
    fn default() -> Self {
        Self::Header(0)
    }
}

impl FrameReader {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input` until something is whole; `None` once `input` is empty.
    ///
    /// `agreed` is asked once for each frame with a payload, before anything is allocated for it:
    /// what its session agreed to, or `None` if nobody wants it (of a closed session, an old epoch),
    /// so that its payload is passed over. It is not asked for frames without a payload.
    ///
    /// # Errors
    /// [`FrameError`] if the stream is no stream of frames, or a frame is not what was agreed. The
    /// same error comes ever after: what follows on the stream cannot be understood.
    pub fn read(
        &mut self,
        input: &mut &[u8],
        mut agreed: impl FnMut(&FrameHeader) -> Option<HiddenShape>,
    ) -> Result<Option<Arrived>, FrameError> {
        loop {
            match &mut self.state {
                State::Header(filled) => {
                    let bytes = take_up_to(input, HEADER_BYTES - *filled);
                    self.header[*filled..*filled + bytes.len()].copy_from_slice(bytes);
                    *filled += bytes.len();
                    if *filled < HEADER_BYTES {
                        return Ok(None);
                    }
                    match begin(&self.header, &mut agreed) {
                        Ok(Begun::Whole(frame)) => return Ok(Some(self.finish(frame))),
                        Ok(Begun::Goes(state)) => self.state = state,
                        Err(error) => self.state = State::Failed(error),
                    }
                }
                State::Payload { header, payload } => {
                    let whole = header.payload_bytes as usize;
                    payload.extend_from_slice(take_up_to(input, whole - payload.len()));
                    if payload.len() < whole {
                        return Ok(None);
                    }
                    let frame = Frame {
                        header: *header,
                        payload: std::mem::take(payload),
                    };
                    return Ok(Some(self.finish(Arrived::Frame(frame))));
                }
                State::Skipping { header, left } => {
                    *left -= take_up_to(input, *left).len();
                    if *left > 0 {
                        return Ok(None);
                    }
                    let header = *header;
                    return Ok(Some(self.finish(Arrived::Skipped(header))));
                }
                State::Failed(error) => return Err(error.clone()),
            }
        }
    }

    /// Whether the payload of a frame is under way, wanted or not.
    pub fn is_amid_frame(&self) -> bool {
        match &self.state {
            State::Payload { .. } | State::Skipping { .. } => true,
            State::Header(_) | State::Failed(_) => false,
        }
    }

    /// Bytes allocated for the frame that is under way.
    pub fn allocated_bytes(&self) -> usize {
        match &self.state {
            State::Payload { payload, .. } => payload.capacity(),
            State::Header(_) | State::Skipping { .. } | State::Failed(_) => 0,
        }
    }

    fn finish(&mut self, arrived: Arrived) -> Arrived {
        self.state = State::default();
        arrived
    }
}

/// What follows a header.
enum Begun {
    /// Nothing: the frame has no payload.
    Whole(Arrived),
    /// A payload.
    Goes(State),
}

fn begin(
    header: &[u8; HEADER_BYTES],
    agreed: impl FnOnce(&FrameHeader) -> Option<HiddenShape>,
) -> Result<Begun, FrameError> {
    let header = FrameHeader::decode(header)?;
    let whole = header.payload_bytes as usize;
    let Kind::Hidden { dtype, .. } = header.kind else {
        let payload = Vec::new();
        return Ok(Begun::Whole(Arrived::Frame(Frame { header, payload })));
    };
    let Some(shape) = agreed(&header) else {
        let left = whole;
        return Ok(Begun::Goes(State::Skipping { header, left }));
    };
    let expected = shape.payload_bytes(header.rows);
    if shape.dtype() != dtype || expected != Some(header.payload_bytes) {
        return Err(header.not_agreed());
    }
    let payload = Vec::with_capacity(whole);
    Ok(Begun::Goes(State::Payload { header, payload }))
}
