//! What goes over the network.

/// Bytes of control and data streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To peers.
    pub bytes_sent: u64,
    /// From peers.
    pub bytes_received: u64,
}

impl Traffic {
    /// What has come since it was `before`; nothing, if it counts from later than that.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            bytes_sent: self.bytes_sent.saturating_sub(before.bytes_sent),
            bytes_received: self.bytes_received.saturating_sub(before.bytes_received),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_never_less_than_none() {
        let of = |bytes_sent, bytes_received| Traffic {
            bytes_sent,
            bytes_received,
        };
        assert_eq!(of(9, 7).since(of(4, 7)), of(5, 0));
        assert_eq!(of(1, 9).since(of(4, 7)), of(0, 2));
    }
}
