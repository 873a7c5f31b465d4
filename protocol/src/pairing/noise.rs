//! `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s` with the ephemeral key given, and the prologue of pairing.

use blake2::{Blake2s256, Digest};
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, TransportState};

use super::frame::{MAX_FRAME, MAX_HANDSHAKE_FRAME, noise_frame};
use super::{Invitation, Refusal};
use crate::PeerId;

const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"potluck pairing v2\0";
const PSK: &[u8] = b"potluck pairing psk v2\0";

/// Of a Noise message's authentication.
const TAG: usize = 16;

/// The longest plaintext of a transport message: with its tag and kind it fills a frame.
pub(super) const MAX_PLAINTEXT: usize = MAX_FRAME - 1 - TAG;

/// Which side of the handshake one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Writes the first message: Noise's initiator.
    Joiner,
    /// Noise's responder.
    Inviter,
}

/// A handshake that is not done.
pub(super) struct Handshake(Box<HandshakeState>);

/// The two keys that the handshake gave.
pub(super) struct Transport(Box<TransportState>);

impl Handshake {
    /// `ephemeral` are 32 random bytes that are used for nothing else.
    pub(super) fn new(
        side: Side,
        invitation: &Invitation,
        joiner: PeerId,
        ephemeral: [u8; 32],
    ) -> Self {
        let psk: [u8; 32] = Blake2s256::new()
            .chain_update(PSK)
            .chain_update(invitation.secret().as_bytes())
            .finalize()
            .into();
        let inviter = invitation.peer();
        let prologue = [PROLOGUE, inviter.public_key(), joiner.public_key()].concat();
        let state = build(side, &psk, &prologue, ephemeral);
        Self(Box::new(state.expect("snow has the parts of this pattern")))
    }

    /// The frame of the next message, with a payload of at most 256 bytes.
    pub(super) fn write(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut message = [0; MAX_HANDSHAKE_FRAME];
        let len = self.0.write_message(payload, &mut message);
        noise_frame(&message[..len.expect("it is this side's turn, and there is room")])
    }

    /// The payload of a message that came.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut payload = vec![0; message.len()];
        match self.0.read_message(message, &mut payload) {
            Ok(len) => {
                payload.truncate(len);
                Ok(payload)
            }
            Err(snow::Error::Input) => Err(Refusal::Malformed),
            Err(_) => Err(Refusal::WrongSecret),
        }
    }

    /// What follows the two messages.
    pub(super) fn finish(self) -> Transport {
        let transport = self.0.into_transport_mode();
        Transport(Box::new(transport.expect("both messages have passed")))
    }
}

impl Transport {
    /// The frame of a message of at most [`MAX_PLAINTEXT`] bytes.
    pub(super) fn write(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut message = vec![0; plaintext.len() + TAG];
        let len = self.0.write_message(plaintext, &mut message);
        noise_frame(&message[..len.expect("a frame is shorter than Noise's limit")])
    }

    /// The plaintext of a message that came.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut plaintext = vec![0; message.len()];
        let len = self.0.read_message(message, &mut plaintext);
        plaintext.truncate(len.map_err(|_| Refusal::Malformed)?);
        Ok(plaintext)
    }
}

fn build(
    side: Side,
    psk: &[u8; 32],
    prologue: &[u8],
    ephemeral: [u8; 32],
) -> Result<HandshakeState, snow::Error> {
    let pattern: NoiseParams = PATTERN.parse()?;
    let builder = Builder::with_resolver(pattern, Box::new(WithKey(ephemeral)))
        .psk(0, psk)?
        .prologue(prologue)?;
    match side {
        Side::Joiner => builder.build_initiator(),
        Side::Inviter => builder.build_responder(),
    }
}

/// snow's own cryptography with a given ephemeral key in place of a random generator.
struct WithKey([u8; 32]);

impl CryptoResolver for WithKey {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(OneKey(Some(self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Gives one key, once: each side of NN generates exactly one.
struct OneKey(Option<[u8; 32]>);

impl Random for OneKey {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        let key = self.0.take().filter(|key| key.len() == dest.len());
        dest.copy_from_slice(&key.ok_or(snow::Error::Rng)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use expect_test::expect;

    use super::super::Secret;
    use super::*;
    use crate::circle::Identity;

    fn pair(secret: u8, joiner: u8) -> (Handshake, Handshake) {
        let [inviter, one, other] = [1, 2, joiner].map(|n| Identity::from_seed(&[n; 32]).peer_id());
        let invitation =
            |n| Invitation::new(inviter, Secret::from_random([n; 16]), 0, vec![]).expect("few");
        let joiner = Handshake::new(Side::Joiner, &invitation(5), one, [3; 32]);
        let inviter = Handshake::new(Side::Inviter, &invitation(secret), other, [4; 32]);
        (joiner, inviter)
    }

    fn message(frame: &[u8]) -> &[u8] {
        &frame[3..]
    }

    #[test]
    fn the_bytes_of_the_handshake_stay() {
        let (mut joiner, mut inviter) = pair(5, 2);
        let first = joiner.write(b"hello");
        assert_eq!(inviter.read(message(&first)).as_deref(), Ok(&b"hello"[..]));
        let second = inviter.write(b"well met");
        assert_eq!(
            joiner.read(message(&second)).as_deref(),
            Ok(&b"well met"[..])
        );
        let (mut joiner, mut inviter) = (joiner.finish(), inviter.finish());
        let third = joiner.write(b"on we go");
        assert_eq!(
            inviter.read(message(&third)).as_deref(),
            Ok(&b"on we go"[..])
        );
        let shown = [first, second, third]
            .map(|frame| HEXLOWER.encode(&frame))
            .join("\n");
        expect![[r#"
            3600005dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef221dfaaed83165b53e91bab87ac3e20200d1acb7f088
            390000ac01b2209e86354fb853237b5de0f4fab13c7fcbf433a61c019369617fecf10b534c77c833052659600b8c8e50a0853557e667404b6057bf
            1900008659e60fab672d6e3ff520b7440d51a3d1d8fb8965ac50f3"#]].assert_eq(&shown);
    }

    #[test]
    fn another_secret_or_another_joiner_is_told_from_nothing() {
        for (secret, joiner) in [(6, 2), (5, 3)] {
            let (mut joiner, mut inviter) = pair(secret, joiner);
            let first = joiner.write(b"");
            assert_eq!(inviter.read(message(&first)), Err(Refusal::WrongSecret));
        }
    }

    #[test]
    fn messages_of_any_length_are_refused_and_never_panic() {
        for len in 0..100 {
            let (mut joiner, mut inviter) = pair(5, 2);
            assert!(inviter.read(&vec![0; len]).is_err());
            let first = joiner.write(b"");
            let (_, mut inviter) = pair(5, 2);
            inviter.read(message(&first)).expect("right");
            assert!(joiner.read(&vec![0; len]).is_err());
            inviter.write(b"");
            assert!(inviter.finish().read(&vec![0; len]).is_err());
        }
    }
}
