//! Deletion vectors (format version 3): one bitmap per data file, in a Puffin file.
//!
//! Rules: Puffin specification, "deletion-vector-v1" blob type.

use std::sync::Arc;

use ingot_catalog::scan::DeleteFileRef;
use object_store::ObjectStoreExt;
use roaring::RoaringTreemap;

use crate::error::{EngineError, Result};
use crate::scan::services::ScanServices;

const MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];
/// Length field before, checksum after.
const LENGTH_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 4;

/// Reads one deletion vector.
pub(super) async fn load(
    services: &Arc<ScanServices>,
    delete: &DeleteFileRef,
    offset: u64,
    length: u64,
) -> Result<RoaringTreemap> {
    let (store, path) = services.storage().store_for(&delete.path)?;
    let blob = store
        .get_range(&path, offset..offset.saturating_add(length))
        .await
        .map_err(|source| ingot_catalog::CatalogError::Storage {
            action: "read",
            path: delete.path.clone(),
            source,
        })?;
    parse(&blob).map_err(|reason| EngineError::CorruptFile {
        path: delete.path.clone(),
        reason: format!("deletion vector at byte {offset}: {reason}"),
    })
}

fn parse(blob: &[u8]) -> Result<RoaringTreemap, String> {
    let (length, rest) = blob
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or("it is cut short")?;
    let body_length = u32::from_be_bytes(*length) as usize;
    if rest.len() != body_length + CHECKSUM_BYTES {
        return Err(format!(
            "it says {body_length} bytes and has {}",
            rest.len().saturating_sub(CHECKSUM_BYTES)
        ));
    }
    let (body, checksum) = rest.split_at(body_length);
    if checksum != crc32(body).to_be_bytes() {
        return Err("its checksum does not match".to_string());
    }
    let bitmap = body
        .strip_prefix(MAGIC.as_slice())
        .ok_or("it does not begin with the magic bytes")?;
    RoaringTreemap::deserialize_from(bitmap).map_err(|error| error.to_string())
}

/// CRC-32 as zlib computes it. Vectors are small: no table is needed.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let lowest_bit_set = crc & 1 == 1;
            crc >>= 1;
            if lowest_bit_set {
                crc ^= 0xEDB8_8320;
            }
        }
    }
    !crc
}

/// A deletion vector as a Puffin file holds it.
///
/// # Errors
/// `InvalidInput` for one of more than 4 GiB.
pub(crate) fn blob_of(positions: &RoaringTreemap) -> Result<Vec<u8>> {
    let invalid = |reason: &str| EngineError::InvalidInput(format!("deletion vector: {reason}"));
    let mut body = MAGIC.to_vec();
    positions
        .serialize_into(&mut body)
        .map_err(|error| invalid(&error.to_string()))?;
    let length = u32::try_from(body.len()).map_err(|_| invalid("it is larger than 4 GiB"))?;
    let mut blob = length.to_be_bytes().to_vec();
    blob.extend_from_slice(&body);
    blob.extend_from_slice(&crc32(&body).to_be_bytes());
    Ok(blob)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn vectors_survive_and_damage_is_seen() {
        let positions: RoaringTreemap = [0, 1, 77, 1 << 33].into_iter().collect();
        let blob = blob_of(&positions).unwrap();
        assert_eq!(parse(&blob).unwrap(), positions);
        for index in 0..blob.len() {
            let mut damaged = blob.clone();
            damaged[index] ^= 1;
            assert!(parse(&damaged).is_err(), "byte {index}");
        }
        assert!(parse(&blob[..blob.len() - 1]).is_err());
        assert!(parse(&[]).is_err());
    }
}
