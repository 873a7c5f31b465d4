//! Answers cut at every place.
