//! The caches of a step's sequences, as an operation takes and returns them.

use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, BackendTensor, Dispatch, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind,
    ExtensionType,
};

/// One layer's keys and values of each sequence of a step.
pub struct Caches<B: Backend>(pub Vec<[FloatTensor<B>; 2]>);

/// Written out, because Burn's derive knows no lists.
impl<B: Backend> ExtensionType<B> for Caches<B> {
    type Target = Caches<Dispatch>;

    fn map_to_dispatch<F>(self, map_kind: F, autodiff: DispatchAutodiffContext) -> Self::Target
    where
        F: Fn(BackendTensor<B>) -> DispatchTensorKind,
    {
        let map = |tensor| DispatchTensor {
            kind: map_kind(BackendTensor::Float(tensor)),
            autodiff,
        };
        Caches(self.0.into_iter().map(|cache| cache.map(map)).collect())
    }

    fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
    where
        F: Fn(DispatchTensor) -> BackendTensor<B>,
    {
        let map = |tensor| unwrap_kind(tensor).float();
        Self(target.0.into_iter().map(|cache| cache.map(map)).collect())
    }

    fn routing_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        target.0.iter().flatten().next()
    }

    fn routing_float_tensor(target: &Self::Target) -> Option<&DispatchTensor> {
        Self::routing_tensor(target)
    }
}
