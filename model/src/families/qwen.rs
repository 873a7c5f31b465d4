//! Qwen 2 (arXiv:2407.10671) and Qwen 3 (arXiv:2505.09388).

use super::Family;
use crate::ModelError;
use crate::config::RopePairs;
use crate::settings::Settings;

pub(super) fn read_2(settings: &Settings<'_>) -> Result<Family, ModelError> {
    Ok(Family::plain(RopePairs::Halves, settings.rope()?))
}

pub(super) fn read_3(settings: &Settings<'_>) -> Result<Family, ModelError> {
    Ok(Family {
        qk_norm: true,
        ..Family::plain(RopePairs::Halves, settings.rope()?)
    })
}
