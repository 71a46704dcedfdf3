//! How large the parts of an upload are.

use super::TransferFault;

pub(super) const MIB: u64 = 1024 * 1024;

/// Up to here an object is sent in one piece.
pub(super) const SINGLE: u64 = 16 * MIB;

/// The size of parts wherever it suffices.
const USUAL: u64 = 16 * MIB;

/// Parts of one upload.
const MOST_PARTS: u64 = 10_000;

/// The largest part.
const LARGEST_PART: u64 = 5 * 1024 * MIB;

/// The largest object.
const LARGEST: u64 = 5 * MIB * MIB;

/// What an object of this many bytes is cut into: 16 MiB, and as much more as 10,000 parts need.
pub(super) fn part_size(bytes: u64) -> Result<u64, TransferFault> {
    if bytes > LARGEST {
        return Err(TransferFault::TooLarge {
            limit: LARGEST,
            help: "an object in S3 has at most 5 TiB: split it".into(),
        });
    }
    let least = bytes.div_ceil(MOST_PARTS);
    Ok(least.next_multiple_of(MIB).max(USUAL))
}

/// The size of part `number` (from 1) of a stream whose end nobody knows. A part is held in memory until S3 has it, so
/// that it can be sent again; it grows with the stream up to all the memory there is. None: no more parts.
pub(super) fn stream_part(number: u64, memory: u64) -> Option<u64> {
    let largest = (memory / MIB * MIB).min(LARGEST_PART);
    // Half of it, so that one part is filled while the other is sent, unless the stream is very long.
    let half = largest / 2;
    match number {
        ..=1_000 => Some(USUAL.min(half)),
        1_001..=2_000 => Some((2 * USUAL).min(half)),
        2_001..=4_000 => Some(half),
        4_001..=MOST_PARTS => Some(largest),
        _ => None,
    }
}

/// How long a stream of unknown length may be with so much memory: 484 GiB with 64 MiB. Files have no such limit.
pub fn stream_limit(memory: u64) -> u64 {
    (1..=MOST_PARTS)
        .filter_map(|number| stream_part(number, memory))
        .sum::<u64>()
        .min(LARGEST)
}

#[cfg(test)]
mod tests {
    use super::super::copy::COPY_PART;
    use super::*;

    const GIB: u64 = 1024 * MIB;

    #[test]
    fn every_size_fits_into_ten_thousand_parts() {
        for bytes in [SINGLE + 1, GIB, 156 * GIB, 157 * GIB, LARGEST - 1, LARGEST] {
            let size = part_size(bytes).unwrap();
            assert!(bytes.div_ceil(size) <= MOST_PARTS, "{bytes}: {size}");
            assert!((16 * MIB..=5 * GIB).contains(&size), "{bytes}: {size}");
        }
        assert_eq!(part_size(GIB).unwrap(), 16 * MIB);
        assert_eq!(part_size(LARGEST).unwrap(), 525 * MIB);
        assert!(part_size(LARGEST + 1).is_err());
        let copied = LARGEST.div_ceil(COPY_PART);
        assert!(copied <= MOST_PARTS, "{copied} pieces of a copy");
    }

    #[test]
    fn parts_of_a_stream_fit_into_memory_and_into_s3() {
        for memory in [16 * MIB, 64 * MIB, 100 * MIB, 2 * GIB] {
            let mut before = 0;
            for number in 1..=MOST_PARTS {
                let size = stream_part(number, memory).unwrap();
                assert!(size >= before && size <= memory, "{number}: {size}");
                assert!((5 * MIB..=5 * GIB).contains(&size), "{number}: {size}");
                before = size;
            }
            assert_eq!(stream_part(MOST_PARTS + 1, memory), None);
        }
        assert_eq!(stream_limit(64 * MIB) / GIB, 484);
        assert_eq!(stream_limit(2 * GIB), LARGEST);
    }
}
