//! Whether a model fits into the memory that its owner allows.

use anyhow::anyhow;
use potluck::engine::Opened;

use super::failure::{self, Code};
use super::format;

/// Refuses a model that needs more memory than `--memory` allows, together with its drafter.
pub(super) fn check(model: &Opened, memory: Option<u64>) -> anyhow::Result<()> {
    let Some(allowed) = memory else {
        return Ok(());
    };
    let shape = model.shape.as_ref().map_err(|why| anyhow!("{why}"))?;
    let context = model.engine.context();
    let drafter = model.drafter.as_ref();
    let drafters = drafter.map_or(0, |drafter| drafter.bytes(context));
    let needed = shape.bytes_with_context(u32::try_from(context)?) + drafters;
    if needed > allowed {
        let drafters = match drafter {
            Some(_) => format!(", {} of that for the drafter", format::bytes(drafters)),
            None => String::new(),
        };
        let words = format!(
            "the model needs {} with a context of {context}{drafters}, and this device may use {}: allow \
             more memory, lower --context, or let paired devices help with --with-peers",
            format::bytes(needed),
            format::bytes(allowed)
        );
        return Err(failure::refusal(Code::Model, words));
    }
    Ok(())
}
