//! Whether two vocabularies have the same tokens.

use super::vocabulary::Vocabulary;
use super::{TokenId, TokenKind, Tokenizer};

/// Two models have different tokens, so that one cannot guess the other's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtherVocabulary {
    /// A token differs.
    #[error("its token {id} is {found:?}, the model's is {expected:?}")]
    Token {
        /// The first such token.
        id: TokenId,
        /// The model's text, as in the file; invalid UTF-8 is replaced.
        expected: String,
        /// The other text.
        found: String,
    },
    /// One vocabulary has more tokens.
    #[error("it has {found} tokens, the model {expected}")]
    Size {
        /// The model's tokens.
        expected: usize,
        /// The other's.
        found: usize,
    },
}

impl Tokenizer {
    /// Checks that another vocabulary has the same tokens. Reserved ids behind them may differ in
    /// number: some files pad their vocabulary.
    ///
    /// # Errors
    /// The first difference.
    pub fn check_same(&self, other: &Self) -> Result<(), OtherVocabulary> {
        let (expected, found) = (&self.vocabulary, &other.vocabulary);
        let both = expected.len().min(found.len());
        let text = |of: &Vocabulary, id| String::from_utf8_lossy(of.text(id)).into_owned();
        let mut ids = 0..TokenId::try_from(both).unwrap_or(TokenId::MAX);
        if let Some(id) = ids.find(|&id| expected.text(id) != found.text(id)) {
            return Err(OtherVocabulary::Token {
                id,
                expected: text(expected, id),
                found: text(found, id),
            });
        }
        let longer = match expected.len() > both {
            true => expected,
            false => found,
        };
        let is_padding = |id: usize| {
            let kinds = longer.kinds(TokenId::try_from(id).unwrap_or(TokenId::MAX));
            kinds.has(TokenKind::Unused)
        };
        match (both..longer.len()).all(is_padding) {
            true => Ok(()),
            false => Err(OtherVocabulary::Size {
                expected: expected.len(),
                found: found.len(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::byte_pairs;
    use crate::tokenizer::{Texts, VocabularyFields};

    /// Replaces the texts, and adds kinds for those that are new.
    fn with(fields: &mut VocabularyFields, kind: TokenKind, change: impl Fn(&mut Vec<String>)) {
        let texts = fields.tokens.iter();
        let mut texts: Vec<_> = texts
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect();
        change(&mut texts);
        fields.kinds.resize(texts.len(), Some(kind));
        fields.tokens = Texts::pack(texts).expect("short");
    }

    #[test]
    fn the_first_token_that_differs_is_named() {
        let model = byte_pairs(|_| ());
        let count = model.vocabulary_size();
        assert_eq!(model.check_same(&model), Ok(()));
        let other = byte_pairs(|fields| {
            with(fields, TokenKind::Normal, |texts| {
                texts[256] = "ho".into();
                texts[262] = "xx".into();
            });
        });
        let expected = OtherVocabulary::Token {
            id: 256,
            expected: "he".into(),
            found: "ho".into(),
        };
        assert_eq!(model.check_same(&other), Err(expected));
        let more =
            |kind| byte_pairs(|fields| with(fields, kind, |texts| texts.push("[PAD]".into())));
        let longer = more(TokenKind::Normal);
        let size = |expected, found| Err(OtherVocabulary::Size { expected, found });
        assert_eq!(model.check_same(&longer), size(count, count + 1));
        assert_eq!(longer.check_same(&model), size(count + 1, count));
        // Padding.
        let padded = more(TokenKind::Unused);
        assert_eq!(model.check_same(&padded), Ok(()));
        assert_eq!(padded.check_same(&model), Ok(()));
    }
}
