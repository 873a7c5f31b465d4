//! What a person said and a model answered.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

/// Text of a prompt or an answer, or tokens of one. It is printed where a person or program asks for it,
/// and nowhere else: without `Debug` and `Display` it cannot get into a log, an error or the message of a
/// panic by accident, and neither can a struct that holds it. Whoever shows it says so: `&*text`.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private<T>(T);

impl<T> Private<T> {
    /// What is held.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Private<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Private<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Private<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::marker::PhantomData;

    use super::*;
    use crate::answer::{Answer, Question};
    use crate::conversation::{Conversation, Reply, Turn};

    trait Hidden {
        fn is_shown(&self) -> bool {
            false
        }
    }

    /// Whether a type has a trait: a method of the type `By` itself, which is there if it has, goes before
    /// the method of a trait.
    macro_rules! has {
        ($type:ty, $trait:path) => {{
            struct By<T>(PhantomData<T>);
            impl<T> Hidden for By<T> {}
            #[allow(dead_code)]
            impl<T: $trait> By<T> {
                fn is_shown(&self) -> bool {
                    true
                }
            }
            By::<$type>(PhantomData).is_shown()
        }};
    }

    #[test]
    fn what_was_said_and_what_holds_it_cannot_be_formatted() {
        assert!(has!(String, fmt::Debug) && has!(String, fmt::Display));
        assert!(!has!(Private<String>, fmt::Debug));
        assert!(!has!(Private<String>, fmt::Display));
        assert!(!has!(Question, fmt::Debug));
        assert!(!has!(Answer, fmt::Debug));
        assert!(!has!(Turn, fmt::Debug));
        assert!(!has!(Reply, fmt::Debug));
        assert!(!has!(Conversation<()>, fmt::Debug));
    }

    #[test]
    fn programs_get_the_text_itself() {
        let text = Private::from("Hi".to_owned());
        assert_eq!(serde_json::to_string(&text).expect("JSON"), "\"Hi\"");
        assert_eq!(text.len(), 2);
    }
}
