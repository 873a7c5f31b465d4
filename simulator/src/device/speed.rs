//! Times of steps on a cool device.

use potluck_protocol::LayerRange;
use potluck_protocol::placement::{ModelShape, ROWS_PER_CACHE_READ, UNPACKING_ROWS, Weights};

use crate::profiles::Hardware;
use crate::quantisation::Format;

/// Rows of a step that go through the same layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    /// Whose layers.
    pub(crate) layers: LayerRange,
    /// Position of the first.
    pub(crate) start: u32,
    /// How many.
    pub(crate) count: u32,
}

/// How long a model's parts take on some hardware, in nanoseconds, by the costs that plans are made
/// with:
/// `sum over layers of (matrices + rows · KV bytes / bandwidth) + overhead`. The matrices of one row
/// take `bytes / bandwidth`; those of several take no less than their multiply-adds and those of
/// unpacking do, but never more than reading them for each row.
#[derive(Debug)]
pub(crate) struct Speeds {
    /// Of each layer: reading its weights; its multiply-adds for a row, in picoseconds; its cache
    /// for a position; its window.
    layers: Vec<Layer>,
    /// Head and embedding for a token, and handing its rows to the node and back.
    ends: u64,
    overhead: u64,
    kv_picoseconds_per_byte: u64,
}

#[derive(Debug)]
struct Layer {
    reading: u64,
    row_picoseconds: u64,
    kv_bytes: u64,
    window: u64,
}

impl Speeds {
    /// `queries` are the model's query heads for each head of keys.
    pub(crate) fn new(hardware: &Hardware, model: &ModelShape, queries: f64) -> Self {
        let kv = hardware.kv_read.per_second();
        // What attention computes for a byte of cache is in proportion to the queries that see it.
        let share = hardware.kv_queries.map_or(1.0, |with| queries / with);
        let layers = model.layers.iter().map(|layer| Layer {
            reading: reading(hardware, &layer.weights),
            row_picoseconds: picoseconds(layer.multiply_adds, hardware.prefill.per_second()),
            kv_bytes: layer.kv_bytes_per_position,
            window: layer.window.map_or(u64::MAX, u64::from),
        });
        let embedding = model.embedding_row_bytes * 1_000_000_000 / kv;
        Self {
            layers: layers.collect(),
            ends: reading(hardware, &model.head)
                + embedding
                + hardware.requester_overhead.0 * 1_000,
            overhead: hardware.stage_overhead.0 * 1_000,
            kv_picoseconds_per_byte: (1e12 * share / kv as f64) as u64,
        }
    }

    /// What the requester spends on a token, in nanoseconds: head, embedding, and its way between the
    /// program that asks and the node.
    pub(crate) fn ends(&self) -> u64 {
        self.ends
    }

    /// A step of these parts, in nanoseconds. Those of the same layers read their weights once.
    pub(crate) fn step(&self, parts: &[Rows]) -> u64 {
        let mut time = self.overhead;
        for (at, part) in parts.iter().enumerate() {
            let range = part.layers;
            let same = |other: &&Rows| other.layers == range;
            if !parts[..at].iter().any(|other| same(&other)) {
                let rows: u64 = parts[at..]
                    .iter()
                    .filter(same)
                    .map(|part| u64::from(part.count))
                    .sum();
                time += self.matrices(range, rows);
            }
            time += self.attention(part);
        }
        time
    }

    fn of(&self, range: LayerRange) -> &[Layer] {
        let end = (range.end() as usize).min(self.layers.len());
        &self.layers[(range.first() as usize).min(end)..end]
    }

    fn matrices(&self, range: LayerRange, rows: u64) -> u64 {
        let layers = self.of(range).iter();
        let times = layers.map(|layer| match rows {
            0 | 1 => layer.reading,
            _ => {
                let rows_of_work = rows + u64::from(UNPACKING_ROWS);
                let arithmetic = layer.row_picoseconds * rows_of_work / 1_000;
                layer.reading.max(arithmetic).min(layer.reading * rows)
            }
        });
        times.sum()
    }

    fn attention(&self, part: &Rows) -> u64 {
        let rows = u64::from(part.count);
        // Each row sees those before it.
        let seen = u64::from(part.start) + rows.saturating_sub(1) / 2;
        let layers = self.of(part.layers).iter();
        let reads = rows.div_ceil(u64::from(ROWS_PER_CACHE_READ));
        let bytes = layers.map(|layer| layer.kv_bytes * layer.window.min(seen) * reads);
        bytes
            .sum::<u64>()
            .saturating_mul(self.kv_picoseconds_per_byte)
            / 1_000
    }
}

/// Nanoseconds of reading weights once.
fn reading(hardware: &Hardware, weights: &[Weights]) -> u64 {
    let times = weights.iter().map(|part| {
        let format = Format::all().find(|format| format.number() == part.quantisation);
        let speed = format.and_then(|format| hardware.decode.get(&format));
        let per_second = speed.copied().unwrap_or(hardware.kv_read).per_second();
        (u128::from(part.bytes) * 1_000_000_000 / u128::from(per_second)) as u64
    });
    times.sum()
}

fn picoseconds(units: u64, per_second: u64) -> u64 {
    (u128::from(units) * 1_000_000_000_000 / u128::from(per_second)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles;
    use crate::scenario::ModelSpec;

    fn all(model: &ModelShape, start: u32, count: u32) -> Rows {
        Rows {
            layers: LayerRange::new(0, model.layers.len() as u32).expect("forwards"),
            start,
            count,
        }
    }

    #[test]
    fn published_token_rates_come_back() {
        let rate = |profile: &str, name: &str, quantisation| {
            let spec = ModelSpec {
                name: name.to_owned(),
                quantisation,
                ..ModelSpec::default()
            };
            let model = spec.shape().expect("known");
            let speeds = Speeds::new(&profiles::load(profile).expect("known"), &model, 4.0);
            let decode = speeds.step(&[all(&model, 0, 1)]) + speeds.ends();
            let prefill = speeds.step(&[all(&model, 0, 128)]);
            (1e9 / decode as f64, 128e9 / prefill as f64)
        };
        // Llama-3-8B in 4 bits: 7.85 and 10.9 tokens/s.
        let (s22, _) = rate("galaxy-s22", "llama-3.1-8b", Some(Format::Q4_0));
        let (s24, _) = rate("galaxy-s24", "llama-3.1-8b", Some(Format::Q4_0));
        assert!((s22 / 7.85 - 1.0).abs() < 0.1, "{s22}");
        assert!((s24 / 10.9 - 1.0).abs() < 0.1, "{s24}");
        // Qwen3-0.6B in Q6_K: decode 14.8, prefill 25.
        let (decode, prefill) = rate("snapdragon-680", "qwen3-0.6b", None);
        assert!((decode / 14.8 - 1.0).abs() < 0.1, "{decode}");
        assert!((prefill / 25.0 - 1.0).abs() < 0.1, "{prefill}");
    }

    #[test]
    fn sessions_in_one_step_share_the_reading_of_weights() {
        let model = ModelSpec::default().shape().expect("known");
        let speeds = Speeds::new(&profiles::load("galaxy-s23").expect("known"), &model, 3.0);
        let one = speeds.step(&[all(&model, 0, 1)]);
        let many = speeds.step(&[all(&model, 0, 1); 64]);
        assert!(many < 40 * one, "{one} {many}");
        // What a plan predicts, that of one row behind others.
        let later = speeds.step(&[all(&model, 1_000, 1)]);
        assert!(later > one);
    }
}
