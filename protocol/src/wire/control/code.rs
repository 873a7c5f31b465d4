//! Enumerations that a newer minor version may extend.

/// Converts an enumeration with an `Other(i32)` from and to the numbers of a generated one. The
/// number 0 is what protobuf gives an absent field, and refused.
macro_rules! open_code {
    ($name:ident, $proto:ty, $field:literal, { $($variant:ident),+ $(,)? }) => {
        impl $name {
            fn number(self) -> i32 {
                match self {
                    $(Self::$variant => <$proto>::$variant.into(),)+
                    Self::Other(number) => number,
                }
            }

            fn from_number(number: i32) -> $crate::wire::check::Checked<Self> {
                Ok(match <$proto>::try_from(number) {
                    $(Ok(<$proto>::$variant) => Self::$variant,)+
                    Ok(<$proto>::Unspecified) => {
                        return Err($crate::wire::check::Problem::Missing.of($field));
                    }
                    Err(_) => Self::Other(number),
                })
            }
        }
    };
}
