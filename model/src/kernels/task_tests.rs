//! Parts that helpers compute apart, and are relieved of, against one thread.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::Isa;
use super::activations::Activations;
use super::feed_forward::{FeedForward, Scratch};
use super::gate::{Activation, gate};
use super::linear::linear;
use super::linear_tests::{Random, bits, packed, random_rows};
use super::rows::{Layout, Owned, WeightRows};
use super::team::Team;
use super::team::tests::BEHIND;
use crate::TensorType;

/// Shared bytes.
struct Bytes(Arc<Vec<u8>>);

impl Owned for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn share(&self) -> Box<dyn Owned + Send> {
        Box::new(Self(Arc::clone(&self.0)))
    }
}

/// A random matrix that can be kept.
struct Matrix {
    bytes: Bytes,
    tensor_type: TensorType,
    shape: [usize; 2],
    layout: Layout,
}

impl Matrix {
    fn new(
        tensor_type: TensorType,
        shape: [usize; 2],
        layout: Layout,
        random: &mut Random,
    ) -> Self {
        let [rows, columns] = shape;
        let stored = random_rows(tensor_type, rows, columns, random);
        let bytes = match layout {
            Layout::Stored => stored,
            Layout::Packed => packed(&WeightRows::new(
                tensor_type,
                rows,
                columns,
                &stored,
                Layout::Stored,
            )),
        };
        Self {
            bytes: Bytes(Arc::new(bytes)),
            tensor_type,
            shape,
            layout,
        }
    }

    fn rows(&self) -> WeightRows<'_> {
        let [rows, columns] = self.shape;
        WeightRows::new(self.tensor_type, rows, columns, &self.bytes.0, self.layout)
    }

    fn owned(&self) -> WeightRows<'_> {
        self.rows().owned_by(&self.bytes)
    }

    fn owners(&self) -> usize {
        Arc::strong_count(&self.bytes.0)
    }
}

fn team(threads: usize) -> Team {
    Team::equal(NonZeroUsize::new(threads).expect("not zero"))
}

fn products(isa: Isa, team: &Team, x: &[f32], weights: &[WeightRows<'_>]) -> Vec<Vec<u32>> {
    let positions = x.len() / weights[0].columns();
    let outputs = weights.iter().map(|w| vec![0.0; positions * w.rows()]);
    let mut outputs: Vec<_> = outputs.collect();
    let mut quantised = Activations::default();
    linear(isa, team, x, &mut quantised, weights, &mut outputs);
    outputs.iter().map(|y| bits(y)).collect()
}

/// The feed-forward part, by one operation.
fn feed_forward(isa: Isa, team: &Team, x: &[f32], maps: &FeedForward<'_>) -> Vec<u32> {
    let positions = x.len() / maps.gate.columns();
    let [mut quantised, mut inner] = [(); 2].map(|()| Activations::default());
    let mut outputs = [(); 2].map(|()| vec![0.0; positions * maps.gate.rows()]);
    let mut y = vec![0.0; positions * maps.down.rows()];
    let scratch = Scratch {
        quantised: &mut quantised,
        inner: &mut inner,
        outputs: outputs.each_mut().map(Vec::as_mut_slice),
    };
    maps.run(isa, team, x, scratch, &mut y);
    bits(&y)
}

/// The same, by operations of their own on one thread.
fn one_by_one(x: &[f32], maps: &FeedForward<'_>) -> Vec<u32> {
    let (isa, team) = (Isa::SCALAR, team(1));
    let positions = x.len() / maps.gate.columns();
    let mut inner = [(); 2].map(|()| vec![0.0; positions * maps.gate.rows()]);
    let weights = [maps.gate, maps.up];
    linear(
        isa,
        &team,
        x,
        &mut Activations::default(),
        &weights,
        &mut inner,
    );
    let [mut gated, up] = inner;
    gate(isa, maps.activation, &mut gated, &up);
    products(isa, &team, &gated, &[maps.down]).remove(0)
}

fn random_input(positions: usize, columns: usize, random: &mut Random) -> Vec<f32> {
    (0..positions * columns).map(|_| random.unit()).collect()
}

#[test]
fn feed_forward_parts_have_the_bits_of_operations_one_by_one() {
    let mut random = Random(11);
    let types = [TensorType::Q4_1, TensorType::Q8_0, TensorType::Q6_K];
    for (t, layout) in types
        .into_iter()
        .flat_map(|t| [(t, Layout::Stored), (t, Layout::Packed)])
    {
        let mut matrix = |rows, columns| Matrix::new(t, [rows, columns], layout, &mut random);
        let (gate, up, down) = (matrix(768, 256), matrix(768, 256), matrix(72, 768));
        for positions in [1, 3, 8] {
            let x = random_input(positions, 256, &mut random);
            for activation in [Activation::Silu, Activation::GeluTanh] {
                let maps = |of: fn(&Matrix) -> WeightRows<'_>| FeedForward {
                    gate: of(&gate),
                    up: of(&up),
                    down: of(&down),
                    activation,
                };
                let expected = one_by_one(&x, &maps(Matrix::rows));
                for isa in Isa::available() {
                    for threads in 1..4 {
                        let team = team(threads);
                        for maps in [maps(Matrix::rows), maps(Matrix::owned)] {
                            let y = feed_forward(isa, &team, &x, &maps);
                            assert_eq!(y, expected, "{t} {isa} {positions} {threads}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn parts_that_helpers_compute_apart_have_the_bits_of_one_thread() {
    let mut random = Random(12);
    for (t, layout) in TensorType::ALL
        .into_iter()
        .filter(|t| !t.is_float())
        .flat_map(|t| [(t, Layout::Stored), (t, Layout::Packed)])
    {
        // Parts begin and end in the middle of matrices, whose last groups are not whole.
        let mut matrix = |rows| Matrix::new(t, [rows, 768], layout, &mut random);
        let matrices = [matrix(200), matrix(33), matrix(72)];
        for positions in [1, 2, 5, 8] {
            let x = random_input(positions, 768, &mut random);
            let plain = matrices.each_ref().map(Matrix::rows);
            let owned = matrices.each_ref().map(Matrix::owned);
            let expected = products(Isa::SCALAR, &team(1), &x, &plain);
            for isa in Isa::available() {
                for threads in [2, 3] {
                    let y = products(isa, &team(threads), &x, &owned);
                    assert_eq!(y, expected, "{t} {layout:?} {isa} {positions}");
                }
            }
        }
    }
}

/// Helpers lose their cores between computing a part and putting it; the caller computes it in their
/// place and goes on, while they still have what they read.
#[test]
fn a_helper_that_falls_behind_is_relieved_and_keeps_what_it_reads() {
    let mut random = Random(13);
    let t = TensorType::Q4_1;
    let isa = Isa::available().pop().expect("scalar, at least");
    let mut matrix = |rows, columns| Matrix::new(t, [rows, columns], Layout::Packed, &mut random);
    let mut maps = [matrix(768, 256), matrix(768, 256), matrix(512, 768)];
    let team = team(3);
    BEHIND.store(3000, Ordering::Relaxed);
    let (mut most_owners, mut seed) = (0, Random(14));
    for round in 0..200 {
        let [gate, up, down] = &maps;
        let of = |matrix: fn(&Matrix) -> WeightRows<'_>| FeedForward {
            gate: matrix(gate),
            up: matrix(up),
            down: matrix(down),
            activation: Activation::Silu,
        };
        let x = random_input(1 + round % 2, 256, &mut seed);
        let y = feed_forward(isa, &team, &x, &of(Matrix::owned));
        assert_eq!(y, one_by_one(&x, &of(Matrix::rows)));
        most_owners = most_owners.max(maps.iter().map(Matrix::owners).max().unwrap_or(0));
        if round % 10 == 9 {
            // The weights go while somebody may still read them.
            maps[round / 10 % 3].bytes = {
                let same = &maps[round / 10 % 3].bytes.0;
                Bytes(Arc::new(same.to_vec()))
            };
        }
    }
    BEHIND.store(0, Ordering::Relaxed);
    assert!(most_owners > 1, "nobody was relieved");
    // All are back some time, and what was kept for them is dropped at the next loop.
    let start = Instant::now();
    while maps.iter().any(|matrix| matrix.owners() > 1) {
        assert!(start.elapsed() < Duration::from_secs(60), "still kept");
        thread::sleep(Duration::from_millis(5));
        let x = random_input(1, 256, &mut seed);
        products(isa, &team, &x, &[maps[0].owned(), maps[1].owned()]);
    }
}
