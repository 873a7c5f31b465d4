//! What is wrong with an invitation.

/// What every invitation begins with.
pub(super) const PREFIX: &str = "POTLUCK:";

/// Why a text is not an invitation that can be used, or none can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// Another text.
    #[error("not an invitation: those begin with {PREFIX}, and `potluck pair` shows one")]
    NotAnInvitation,
    /// More than any invitation.
    #[error("too long for an invitation: copy only the text that begins with {PREFIX}")]
    TooLong,
    /// Letters are wrong or missing.
    #[error("the invitation is damaged: copy the whole text again, or scan its QR code")]
    Damaged,
    /// Of a version that this program does not know.
    #[error("the invitation is of version {0}: update Potluck on this device")]
    Newer(u8),
    /// Of a version that this program does not use any more.
    #[error("the invitation is of version {0}: update Potluck on the device that shows it")]
    Older(u8),
    /// Its time is over.
    #[error("the invitation has expired: ask for a new one")]
    Expired,
    /// An address that is none.
    #[error("not an address: those look like /ip4/192.168.1.23/tcp/4001")]
    BadAddress,
    /// More addresses than an invitation has room for.
    #[error("an invitation holds at most 8 addresses: leave some out")]
    TooManyAddresses,
}
