//! Llama (Touvron et al. 2023, arXiv:2302.13971) and the models that share its graph.

use super::Family;
use crate::ModelError;
use crate::config::RopePairs;
use crate::settings::Settings;

pub(super) fn read(settings: &Settings<'_>) -> Result<Family, ModelError> {
    Ok(Family::plain(RopePairs::Adjacent, settings.rope()?))
}
