//! One signed line of the membership log, and its bytes.

use std::fmt;

use blake2::{Blake2s256, Digest as _};
use data_encoding::HEXLOWER;

use super::identity::is_signed_by;
use super::{DeviceName, EntryError, Identity, MAX_ENTRIES_PER_AUTHOR, MAX_PARENTS};
use crate::PeerId;
use crate::reader::Reader;

/// Precedes the body of an entry wherever it is hashed or signed, so that neither can be taken for
/// that of anything else.
const DOMAIN: &[u8] = b"potluck circle entry v1\0";

const VERSION: u8 = 1;
/// The version of entries of the kinds that version 1 does not know.
const VERSION_OF_EXPULSIONS: u8 = 2;
const FOUND: u8 = 0;
const ADMIT: u8 = 1;
const REVOKE: u8 = 2;
const RENAME: u8 = 3;
const EXPEL: u8 = 4;

/// Bytes of a signature.
const SIGNATURE: usize = 64;

/// The longest entry: an admission with as many parents and as long a name as there may be.
pub(super) const MAX_ENTRY_BYTES: usize =
    2 + 32 + 4 + 1 + 32 * MAX_PARENTS + 32 + 1 + DeviceName::MAX_BYTES + SIGNATURE;

/// An entry's name: the BLAKE2s-256 of its domain and body. The signature is not hashed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryHash(pub(super) [u8; 32]);

impl EntryHash {
    /// The 32 bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&HEXLOWER.encode_display(&self.0), f)
    }
}

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Begins a circle of which the author is the first member.
    Found {
        /// Random, so that a device can found more than one circle.
        nonce: [u8; 16],
        /// The author's name.
        name: DeviceName,
    },
    /// Makes a device a member.
    Admit {
        /// The device.
        peer: PeerId,
        /// Its name.
        name: DeviceName,
    },
    /// Ends a device's membership; one's own, too.
    Revoke {
        /// The device.
        peer: PeerId,
    },
    /// Gives the author another name.
    Rename {
        /// The name.
        name: DeviceName,
    },
    /// Ends the membership of a device and of all whom it made members, before or after this is
    /// written.
    Expel {
        /// The device.
        peer: PeerId,
    },
}

impl Act {
    /// The name that it gives.
    pub fn name(&self) -> Option<&DeviceName> {
        match self {
            Self::Found { name, .. } | Self::Admit { name, .. } | Self::Rename { name } => {
                Some(name)
            }
            Self::Revoke { .. } | Self::Expel { .. } => None,
        }
    }

    /// Whose membership it ends.
    pub fn ends(&self) -> Option<PeerId> {
        match self {
            Self::Revoke { peer } | Self::Expel { peer } => Some(*peer),
            Self::Found { .. } | Self::Admit { .. } | Self::Rename { .. } => None,
        }
    }
}

/// An entry that its author signed. Its bytes are canonical: reading and writing gives the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    author: PeerId,
    sequence: u32,
    parents: Vec<EntryHash>,
    act: Act,
    signature: [u8; SIGNATURE],
    hash: EntryHash,
}

impl Entry {
    /// Whom it makes a member: who is admitted, or founds.
    pub(super) fn admitted(&self) -> Option<PeerId> {
        match &self.act {
            Act::Found { .. } => Some(self.author),
            Act::Admit { peer, .. } => Some(*peer),
            Act::Revoke { .. } | Act::Expel { .. } | Act::Rename { .. } => None,
        }
    }

    /// Writes and signs an entry. `parents` are distinct and at most [`MAX_PARENTS`].
    pub(super) fn sign(
        identity: &Identity,
        sequence: u32,
        mut parents: Vec<EntryHash>,
        act: Act,
    ) -> Self {
        parents.sort_unstable();
        let mut entry = Self {
            author: identity.peer_id(),
            sequence,
            parents,
            act,
            signature: [0; SIGNATURE],
            hash: EntryHash([0; 32]),
        };
        let message = entry.signed_message();
        entry.signature = identity.sign(&message);
        entry.hash = hash(&message);
        entry
    }

    /// Who wrote it.
    pub fn author(&self) -> PeerId {
        self.author
    }

    /// How many entries its author wrote before it.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// The entries that it builds on, ascending; none for the founding.
    pub fn parents(&self) -> &[EntryHash] {
        &self.parents
    }

    /// What it does.
    pub fn act(&self) -> &Act {
        &self.act
    }

    /// Its name.
    pub fn hash(&self) -> EntryHash {
        self.hash
    }

    /// The bytes that travel.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.signed_message();
        bytes.drain(..DOMAIN.len());
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    fn signed_message(&self) -> Vec<u8> {
        let mut out = DOMAIN.to_vec();
        let (version, kind) = match self.act {
            Act::Found { .. } => (VERSION, FOUND),
            Act::Admit { .. } => (VERSION, ADMIT),
            Act::Revoke { .. } => (VERSION, REVOKE),
            Act::Rename { .. } => (VERSION, RENAME),
            Act::Expel { .. } => (VERSION_OF_EXPULSIONS, EXPEL),
        };
        out.extend_from_slice(&[version, kind]);
        out.extend_from_slice(self.author.public_key());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.push(u8::try_from(self.parents.len()).expect("at most 64 parents"));
        for parent in &self.parents {
            out.extend_from_slice(&parent.0);
        }
        match &self.act {
            Act::Found { nonce, name } => {
                out.extend_from_slice(nonce);
                name.write(&mut out);
            }
            Act::Admit { peer, name } => {
                out.extend_from_slice(peer.public_key());
                name.write(&mut out);
            }
            Act::Revoke { peer } | Act::Expel { peer } => {
                out.extend_from_slice(peer.public_key());
            }
            Act::Rename { name } => name.write(&mut out),
        }
        out
    }
}

/// An entry of good form whose signature has not been looked at.
///
/// Telling whether an entry is known costs a hash, checking a signature some hundred times that.
pub(super) struct Unverified(Entry);

impl Unverified {
    /// Reads the bytes of exactly one entry.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::Oversize);
        }
        let mut reader = Reader::new(bytes);
        let version = match reader.u8().ok_or(EntryError::Malformed)? {
            0 => return Err(EntryError::Malformed),
            known @ (VERSION | VERSION_OF_EXPULSIONS) => known,
            newer => return Err(EntryError::Newer(newer)),
        };
        let entry = parse_fields(&mut reader, version).ok_or(EntryError::Malformed)?;
        if !reader.is_empty() || entry.sequence >= MAX_ENTRIES_PER_AUTHOR {
            return Err(EntryError::Malformed);
        }
        let message = entry.signed_message();
        let hash = hash(&message);
        Ok(Self(Entry { hash, ..entry }))
    }

    pub(super) fn hash(&self) -> EntryHash {
        self.0.hash
    }

    /// The entry, if its author signed it.
    pub(super) fn verify(self) -> Result<Entry, EntryError> {
        let Self(entry) = self;
        if is_signed_by(entry.author, &entry.signed_message(), &entry.signature) {
            Ok(entry)
        } else {
            Err(EntryError::Forged)
        }
    }
}

fn parse_fields(reader: &mut Reader<'_>, version: u8) -> Option<Entry> {
    let kind = reader.u8()?;
    if (version == VERSION_OF_EXPULSIONS) != (kind == EXPEL) {
        return None;
    }
    let author = PeerId::from_public_key(reader.array()?);
    let sequence = reader.u32()?;
    let count = usize::from(reader.u8()?);
    let founding = kind == FOUND;
    if count > MAX_PARENTS || founding != (count == 0) || founding && sequence != 0 {
        return None;
    }
    let parents: Vec<_> = (0..count)
        .map(|_| reader.array().map(EntryHash))
        .collect::<Option<_>>()?;
    if !parents.is_sorted_by(|a, b| a < b) {
        return None;
    }
    let act = match kind {
        FOUND => Act::Found {
            nonce: reader.array()?,
            name: DeviceName::read(reader)?,
        },
        ADMIT => Act::Admit {
            peer: PeerId::from_public_key(reader.array()?),
            name: DeviceName::read(reader)?,
        },
        REVOKE => Act::Revoke {
            peer: PeerId::from_public_key(reader.array()?),
        },
        RENAME => Act::Rename {
            name: DeviceName::read(reader)?,
        },
        EXPEL => Act::Expel {
            peer: PeerId::from_public_key(reader.array()?),
        },
        _ => return None,
    };
    Some(Entry {
        author,
        sequence,
        parents,
        act,
        signature: reader.array()?,
        hash: EntryHash([0; 32]),
    })
}

fn hash(message: &[u8]) -> EntryHash {
    EntryHash(Blake2s256::digest(message).into())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn name(name: &str) -> DeviceName {
        DeviceName::new(name).expect("a name")
    }

    fn entries() -> [Entry; 5] {
        let identity = Identity::from_seed(&[7; 32]);
        let peer = Identity::from_seed(&[8; 32]).peer_id();
        let found = Act::Found {
            nonce: [9; 16],
            name: name("anna"),
        };
        let found = Entry::sign(&identity, 0, vec![], found);
        let admit = Act::Admit {
            peer,
            name: name("ben"),
        };
        let admit = Entry::sign(&identity, 1, vec![found.hash()], admit);
        let parents = vec![admit.hash(), found.hash()];
        let revoke = Entry::sign(&identity, 2, parents, Act::Revoke { peer });
        let rename = Act::Rename { name: name("a") };
        let rename = Entry::sign(&identity, 3, vec![revoke.hash()], rename);
        let expel = Entry::sign(&identity, 2, vec![admit.hash()], Act::Expel { peer });
        [found, admit, revoke, rename, expel]
    }

    fn parse(bytes: &[u8]) -> Result<Entry, EntryError> {
        Unverified::parse(bytes)?.verify()
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        for entry in entries() {
            assert_eq!(parse(&entry.to_bytes()), Ok(entry));
        }
    }

    #[test]
    fn the_bytes_of_an_entry_stay() {
        let shown: String = entries()
            .iter()
            .map(|entry| {
                format!(
                    "{}\n  = {:?}\n",
                    HEXLOWER.encode(&entry.to_bytes()),
                    entry.hash()
                )
            })
            .collect();
        expect![[r#"
            0100ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c00000000000909090909090909090909090909090904616e6e614f8459fbcb9ae66b2514c3e606bd954a87c45288df90b482520d714d9c1675a2822aa92a108af56996559bf74806247aa8ef5d845d7cd65612070dfbd09a1102
              = 456547d1364e2093c23d578a7870a27f380cdce6cc69af657ab06fbe6470f1dd
            0101ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c0100000001456547d1364e2093c23d578a7870a27f380cdce6cc69af657ab06fbe6470f1dd1398f62c6d1a457c51ba6a4b5f3dbd2f69fca93216218dc8997e416bd17d93ca0362656ef64edb3b9022dac5af50ca31d21d683ca891b333343cf7ef51e5e4ca187cf492ca5a690a4953f5b9e5d45b4989a7d466f508d35e8f74cad888b8a91c22510704
              = ef75f2d499aed135cfd89f1eacdd513aeda5f54b3ab50124bf6e1ea97a2f5815
            0102ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c0200000002456547d1364e2093c23d578a7870a27f380cdce6cc69af657ab06fbe6470f1ddef75f2d499aed135cfd89f1eacdd513aeda5f54b3ab50124bf6e1ea97a2f58151398f62c6d1a457c51ba6a4b5f3dbd2f69fca93216218dc8997e416bd17d93ca8cccb32a3a1e9b8d39b2aba6f5bfb577b95fbba41ee6b3ca19eda26921b0d23777a640ffb145097e4de16aa42b159647be67441d99ef3b696587b0707da7d70c
              = f5f3172ee55ab387afd5cfd95bd8710549b7e9d5b119819e7bb611fe2a38ad0d
            0103ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c0300000001f5f3172ee55ab387afd5cfd95bd8710549b7e9d5b119819e7bb611fe2a38ad0d01612d0ad87aea9fdf1cb48c55aeea78ab806f4342020f033c8949e99ccb514ba4cf5a0624b9a8d4545aa373627e1b2b1a4e90256dcee11a8af866a8a0bbc1024709
              = 0f1f65aa37a05a79f7e1985625687b435bb04dd6720c63d7f05f3cc680c20911
            0204ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c0200000001ef75f2d499aed135cfd89f1eacdd513aeda5f54b3ab50124bf6e1ea97a2f58151398f62c6d1a457c51ba6a4b5f3dbd2f69fca93216218dc8997e416bd17d93cafa0debef26cd188cb2197589415bdfb8f91c0b21db9b20501302684d00e0f0978c2ff46ae41bd84bd3d571c05939a12d0cf9aa2785ff7d09d212bfe808e03a06
              = 1379ef260ebc3455de64e20bb652187629fe49767b553a95eae5355ffc5b7093
        "#]].assert_eq(&shown);
    }

    #[test]
    fn every_cut_and_every_changed_bit_is_refused() {
        for entry in entries() {
            let bytes = entry.to_bytes();
            for len in 0..bytes.len() {
                assert_eq!(parse(&bytes[..len]), Err(EntryError::Malformed));
            }
            for bit in 0..8 * bytes.len() {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                parse(&changed).expect_err("changed");
            }
            let mut longer = bytes.clone();
            longer.push(0);
            assert_eq!(parse(&longer), Err(EntryError::Malformed));
            longer.resize(MAX_ENTRY_BYTES + 1, 0);
            assert_eq!(parse(&longer), Err(EntryError::Oversize));
        }
    }

    #[test]
    fn a_newer_entry_is_told_from_a_broken_one() {
        let mut bytes = entries()[0].to_bytes();
        bytes[0] = 3;
        assert_eq!(parse(&bytes), Err(EntryError::Newer(3)));
        bytes[0] = 2;
        assert_eq!(parse(&bytes), Err(EntryError::Malformed));
    }
}
