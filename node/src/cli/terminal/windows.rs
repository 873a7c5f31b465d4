//! A Windows console's mode. Line editing sets it for each line and puts it back by itself; that of a
//! process that ends while a person types stays as it is, as no safe function changes it.

pub(in crate::cli) fn remember() {}

/// Nobody has to wait for a line to be begun: nothing is put back afterwards.
pub(in crate::cli) fn is_raw() -> bool {
    true
}

pub(in crate::cli) fn restore() {}
