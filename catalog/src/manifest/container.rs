//! Avro's object container file: metadata, then blocks of rows.
//!
//! Source: the Avro specification under "Object Container Files" and "Binary Encoding". The
//! reader of serde_avro_fast is not used for it, since it refuses what PyIceberg leaves behind
//! deflated blocks: three bytes of zlib's trailer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read;

use flate2::read::DeflateDecoder;
use iceberg::Result;

use super::invalid;

/// What every container starts with; the last byte is the format's version.
const MAGIC: &[u8] = b"Obj\x01";
/// Length of the marker that ends the header and every block, in bytes.
const MARKER_BYTES: usize = 16;

/// A container whose blocks are found but not decompressed.
pub(super) struct Container<'a> {
    /// The header's metadata, with Avro's own keys.
    pub metadata: HashMap<String, Vec<u8>>,
    /// The blocks in the file's order.
    pub blocks: Vec<Block<'a>>,
}

/// One block of a container.
pub(super) struct Block<'a> {
    /// How many rows it has.
    pub rows: usize,
    data: &'a [u8],
}

impl<'a> Container<'a> {
    /// Finds the header and the blocks.
    ///
    /// # Errors
    /// `DataInvalid` for anything but whole blocks up to the file's end. Avro has no footer, so a
    /// file that was cut between two blocks goes unnoticed.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut rest = bytes;
        if take(&mut rest, MAGIC.len())? != MAGIC {
            return Err(invalid("it is no avro file"));
        }
        let metadata = take_metadata(&mut rest)?;
        let marker = take(&mut rest, MARKER_BYTES)?;
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            let rows = take_length(&mut rest)?;
            let data = take_bytes(&mut rest)?;
            if take(&mut rest, MARKER_BYTES)? != marker {
                return Err(invalid("a block does not end with the file's marker"));
            }
            blocks.push(Block { rows, data });
        }
        Ok(Self { metadata, blocks })
    }

    /// The schema of the rows, as JSON.
    ///
    /// # Errors
    /// `DataInvalid` for a header without one.
    pub(super) fn schema(&self) -> Result<&str> {
        let schema = self.metadata.get("avro.schema").map(Vec::as_slice);
        let schema = schema.ok_or_else(|| invalid("its header has no schema"))?;
        std::str::from_utf8(schema).map_err(invalid)
    }

    /// The bytes of a block's rows.
    ///
    /// # Errors
    /// `DataInvalid` for a codec other than deflate, and for bytes that are not deflated.
    pub(super) fn decompress(&self, block: &Block<'a>) -> Result<Cow<'a, [u8]>> {
        match self.metadata.get("avro.codec").map(Vec::as_slice) {
            None | Some(b"null") => Ok(Cow::Borrowed(block.data)),
            Some(b"deflate") => {
                let mut rows = Vec::new();
                let mut decoder = DeflateDecoder::new(block.data);
                decoder.read_to_end(&mut rows).map_err(invalid)?;
                Ok(Cow::Owned(rows))
            }
            Some(other) => {
                let codec = String::from_utf8_lossy(other);
                Err(invalid(format!("its codec {codec} is not read here")))
            }
        }
    }
}

/// Takes a map from text to bytes: blocks of entries up to one without any.
fn take_metadata(rest: &mut &[u8]) -> Result<HashMap<String, Vec<u8>>> {
    let mut metadata = HashMap::new();
    loop {
        let count = take_long(rest)?;
        if count == 0 {
            return Ok(metadata);
        }
        // A negative count stands before the block's size, which serves those who skip it.
        if count < 0 {
            take_long(rest)?;
        }
        for _ in 0..count.unsigned_abs() {
            let key = std::str::from_utf8(take_bytes(rest)?).map_err(invalid)?;
            metadata.insert(key.to_string(), take_bytes(rest)?.to_vec());
        }
    }
}

/// Takes a long: zigzag, seven bits a byte, lowest first.
fn take_long(input: &mut &[u8]) -> Result<i64> {
    let mut bits = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let Some((byte, rest)) = input.split_first() else {
            return Err(invalid("it ends within a number"));
        };
        *input = rest;
        bits |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
    }
    Err(invalid("it has a number of more than ten bytes"))
}

fn take_length(input: &mut &[u8]) -> Result<usize> {
    let length = take_long(input)?;
    usize::try_from(length).map_err(|_| invalid(format!("it has the length {length}")))
}

fn take_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = take_length(input)?;
    take(input, length)
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let Some((taken, rest)) = input.split_at_checked(length) else {
        return Err(invalid("it is cut off"));
    };
    *input = rest;
    Ok(taken)
}
