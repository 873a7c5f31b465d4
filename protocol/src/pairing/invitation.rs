//! The invitation that one device shows and another reads.

use std::fmt;
use std::str::FromStr;

use blake2::{Blake2s256, Digest};

use super::invitation_error::{InvitationError, PREFIX};
use super::{Address, base32};
use crate::PeerId;
use crate::reader::Reader;

/// What every invitation begins with, in upper or lower case.
/// That of the exchange that it begins: whoever reads another version cannot pair by it.
const VERSION: u8 = 2;
const CHECKSUM: usize = 4;
const DOMAIN: &[u8] = b"potluck invitation\0";

/// A random secret of 128 bits for one use. It proves that the joiner saw the inviter's screen. Only
/// the invitation's text shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl Secret {
    /// The secret of 16 random bytes that are used for nothing else.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An invitation to pair with one device, once. [`Display`](fmt::Display) gives the text for people
/// and QR codes, [`FromStr`] reads it; see the module's documentation for its form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    peer: PeerId,
    secret: Secret,
    expires_unix_s: u64,
    addresses: Vec<Address>,
}

impl Invitation {
    /// The most addresses.
    pub const MAX_ADDRESSES: usize = 8;
    /// The longest text that is read, in bytes, with any white space in it.
    pub const MAX_TEXT_BYTES: usize = 2048;

    /// An invitation by `peer` that expires at a time in seconds since 1970 (UTC).
    ///
    /// # Errors
    /// [`InvitationError::TooManyAddresses`].
    pub fn new(
        peer: PeerId,
        secret: Secret,
        expires_unix_s: u64,
        addresses: Vec<Address>,
    ) -> Result<Self, InvitationError> {
        if addresses.len() > Self::MAX_ADDRESSES {
            return Err(InvitationError::TooManyAddresses);
        }
        Ok(Self {
            peer,
            secret,
            expires_unix_s,
            addresses,
        })
    }

    /// The inviter.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// When it ends, in seconds since 1970 (UTC).
    pub fn expires_unix_s(&self) -> u64 {
        self.expires_unix_s
    }

    /// The inviter's addresses, the best first.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Whether it is still open at a time in seconds since 1970 (UTC).
    ///
    /// # Errors
    /// [`InvitationError::Expired`].
    pub fn check_open(&self, now_unix_s: u64) -> Result<(), InvitationError> {
        if now_unix_s < self.expires_unix_s {
            Ok(())
        } else {
            Err(InvitationError::Expired)
        }
    }

    /// The secret.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(self.peer.public_key());
        out.extend_from_slice(self.secret.as_bytes());
        out.extend_from_slice(&self.expires_unix_s.to_le_bytes());
        out.push(u8::try_from(self.addresses.len()).expect("at most 8 addresses"));
        self.addresses.iter().for_each(|a| a.write(&mut out));
        let checksum = checksum(&out);
        out.extend_from_slice(&checksum);
        out
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let peer = PeerId::from_public_key(reader.array()?);
        let secret = Secret(reader.array()?);
        let expires_unix_s = reader.u64()?;
        let count = usize::from(reader.u8()?);
        if count > Self::MAX_ADDRESSES {
            return None;
        }
        let addresses = (0..count)
            .map(|_| Address::read(reader))
            .collect::<Option<_>>()?;
        reader.is_empty().then_some(Self {
            peer,
            secret,
            expires_unix_s,
            addresses,
        })
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", base32::encode(&self.to_bytes()))
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        if text.len() > Self::MAX_TEXT_BYTES {
            return Err(InvitationError::TooLong);
        }
        let mut letters = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
        if !PREFIX.bytes().all(|expected| {
            letters
                .next()
                .is_some_and(|letter| letter.eq_ignore_ascii_case(&expected))
        }) {
            return Err(InvitationError::NotAnInvitation);
        }
        let bytes = base32::decode(letters).ok_or(InvitationError::Damaged)?;
        let (body, sum) = bytes
            .split_last_chunk::<CHECKSUM>()
            .ok_or(InvitationError::Damaged)?;
        if *sum != checksum(body) {
            return Err(InvitationError::Damaged);
        }
        let mut reader = Reader::new(body);
        match reader.u8() {
            Some(VERSION) => Self::read(&mut reader).ok_or(InvitationError::Damaged),
            Some(0) | None => Err(InvitationError::Damaged),
            Some(older) if older < VERSION => Err(InvitationError::Older(older)),
            Some(newer) => Err(InvitationError::Newer(newer)),
        }
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let hash: [u8; 32] = Blake2s256::new()
        .chain_update(DOMAIN)
        .chain_update(body)
        .finalize()
        .into();
    std::array::from_fn(|i| hash[i])
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn example() -> Invitation {
        let peer = crate::circle::Identity::from_seed(&[1; 32]).peer_id();
        let addresses = ["/ip4/192.168.1.23/tcp/40123", "/ip6/fe80::1/tcp/40123"]
            .map(|text| Address::new(text).expect("an address"));
        Invitation::new(peer, Secret([2; 16]), 1_800_000_000, addresses.into()).expect("few")
    }

    fn text_of(body: &[u8]) -> String {
        let bytes = [body, &checksum(body)].concat();
        format!("{PREFIX}{}", base32::encode(&bytes))
    }

    #[test]
    fn the_text_of_an_invitation_stays() {
        let text = example().to_string();
        expect!["POTLUCK:AKFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYAQCAIBAEAQCAIBAEAQCAIBAEAQA2JEWWAAAAAAAEAOAVAARPO44AL7IAAAAAAAAAAAAAAAAAAAAAAA3XHAZACT6E"].assert_eq(&text);
        let is_of_qr_mode = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ':';
        assert!(text.chars().all(is_of_qr_mode));
    }

    #[test]
    fn case_and_line_breaks_do_not_matter() {
        let text = example().to_string();
        let (a, b) = text.split_at(50);
        for text in [
            text.to_lowercase(),
            format!(" {a}\r\n{b}\n"),
            format!("{a} {b}"),
        ] {
            assert_eq!(text.parse(), Ok(example()));
        }
    }

    #[test]
    fn each_fault_has_its_own_words() {
        use InvitationError::*;
        let text = example().to_string();
        let body = example().to_bytes();
        let body = &body[..body.len() - CHECKSUM];
        let newer = [&[3], &body[1..], b"more"].concat();
        let older = [&[1], &body[1..]].concat();
        let nine = [&body[..57], &[9]].concat();
        let cases = [
            (String::new(), NotAnInvitation),
            ("https://example.org".into(), NotAnInvitation),
            ("POTLUC".into(), NotAnInvitation),
            ("POTLUCK:".into(), Damaged),
            ("POTLUCK:AAAAAAA".into(), Damaged),
            (text[..text.len() - 1].into(), Damaged),
            (format!("{text}A"), Damaged),
            (text.replace(':', ":1"), Damaged),
            (text_of(&newer), Newer(3)),
            (text_of(&older), Older(1)),
            (text_of(&nine), Damaged),
            (text_of(&[body, &[0]].concat()), Damaged),
            (" ".repeat(2049), TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Invitation>(), Err(error), "{text}");
        }
        assert_eq!(example().check_open(1_800_000_000), Err(Expired));
        assert_eq!(example().check_open(1_799_999_999), Ok(()));
    }

    #[test]
    fn the_longest_invitation_can_be_read() {
        let address = Address::new(&format!("/{}", "a".repeat(127))).expect("an address");
        let addresses = vec![address.clone(); 8];
        let peer = example().peer();
        let invitation = Invitation::new(peer, Secret([0; 16]), u64::MAX, addresses);
        let text = invitation.as_ref().expect("eight").to_string();
        assert!(text.len() < Invitation::MAX_TEXT_BYTES);
        assert_eq!(text.parse(), invitation);
        let addresses = vec![address; 9];
        let invitation = Invitation::new(peer, Secret([0; 16]), 0, addresses);
        assert_eq!(invitation, Err(InvitationError::TooManyAddresses));
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert!(format!("{:?}", example()).contains("secret: Secret(..)"));
    }

    fn addresses() -> impl Strategy<Value = Address> {
        let ip4 = any::<([u8; 4], u16)>()
            .prop_map(|(ip, port)| format!("/ip4/{}/tcp/{port}", std::net::Ipv4Addr::from(ip)));
        let ip6 = any::<([u16; 8], u16)>()
            .prop_map(|(ip, port)| format!("/ip6/{}/tcp/{port}", std::net::Ipv6Addr::from(ip)));
        prop_oneof![ip4, ip6, "/[!-~]{1,127}"]
            .prop_map(|text| Address::new(&text).expect("an address"))
    }

    proptest! {
        #[test]
        fn an_invitation_is_read_as_it_was_written(
            key: [u8; 32], secret: [u8; 16], expires: u64, addresses in vec(addresses(), 0..=8),
        ) {
            let peer = PeerId::from_public_key(key);
            let invitation = Invitation::new(peer, Secret(secret), expires, addresses).expect("few");
            prop_assert_eq!(invitation.to_string().parse(), Ok(invitation));
        }

        #[test]
        fn any_text_is_refused_or_has_one_form(text in any::<String>()) {
            prop_assert!(text.parse::<Invitation>().is_err());
            let _ = format!("{PREFIX}{text}").parse::<Invitation>();
        }

        #[test]
        fn any_body_with_a_right_checksum_is_refused_or_has_one_form(
            mut body in vec(any::<u8>(), 58..200), count in 0..3_u8,
        ) {
            (body[0], body[57]) = (VERSION, count);
            let text = text_of(&body);
            if let Ok(invitation) = text.parse::<Invitation>() {
                prop_assert_eq!(invitation.to_string(), text);
            }
        }
    }
}
